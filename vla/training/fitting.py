"""Statistics of the training data become the processor's: all of a new model's, to which its action codes are
fitted as well; of a model that training goes on from (``init=``) those of robots it did not know, and others
only where that is asked for.

A policy's action tokens mean what its statistics say. New ones under old weights change what every token
means, so they are not put in place silently.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vla.configuration import VLAConfig
from vla.data.batches import ChunkData
from vla.data.episodes import EpisodeDataset
from vla.data.measured import measured
from vla.data.robots import Sample, fitted, robot_names
from vla.data.statistics import Statistics
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE
from vla.processor import Processor
from vla.tokens.base import WordTokenizer
from vla.training.run_config import RunConfig

__all__ = ["fit", "refit", "with_new_robots"]

FRAMES = 50_000
"""Of each robot, at most."""

_Ints = npt.NDArray[np.int64]


def fit(
    config: VLAConfig, tokenizer: WordTokenizer, data: ChunkData, frames: _Ints, run: RunConfig
) -> Processor:
    """The processor of a new model. Raises BadInput for a robot of the config that no dataset is of."""
    for robot in config.robots:
        if robot not in data.robots:
            place = "model.processor" if config.state is None else "model.state"
            raise BadInput(f"{place}.robots names '{robot}', but no dataset is of it")
    names = robot_names(config)
    exact = Statistics(measured(config, data, frames, names)) if run.reading.fit == "all" else None
    samples = _samples(data, frames, run.seed, names)
    return Processor.fit(config, tokenizer, samples, seed=run.seed, statistics=exact)


def refit(
    config: VLAConfig, processor: Processor, data: ChunkData, frames: _Ints, run: RunConfig
) -> Processor:
    """The processor to go on with. config: of the model, its new robots included."""
    known, anew = processor.joints.keys(), run.reading.statistics == "refit"
    robots = [name for name in dict.fromkeys(data.robots) if anew or name not in known]
    for name in robots:
        whose = f" of robot '{name}'" if name else ""
        why = "as reading.statistics=refit asks" if name in known else "the checkpoint does not know it"
        print(f"statistics{whose} are fitted to the data: {why}", flush=True)
    made = processor
    if robots:
        if run.reading.fit == "all":
            new = measured(config, data, frames, robots)
        else:
            new = fitted(config, _samples(data, frames, run.seed, robots))
        statistics = Statistics({**processor.statistics.features, **new})
        made = Processor(config, processor.tokenizer, statistics, processor.actions)
    # The action codes stay those of the data that they were fitted to.
    random = np.random.default_rng(run.seed)
    made.tell_loss({name: _sample(data, frames, random, name) for name in dict.fromkeys(data.robots)})
    return made


def with_new_robots(config: VLAConfig, datasets: Sequence[EpisodeDataset]) -> VLAConfig:
    """The config of a model that training goes on from, with the datasets' robots among its own.

    Only where robots are told apart by their statistics alone: one that takes a state has weights for each.
    """
    if config.state is not None or not config.processor.robots:
        return config
    robots = list(config.processor.robots)
    for dataset in datasets:
        name = str(dataset.info.get("robot_type") or "")
        if not name:
            raise BadInput(
                f"{dataset.root}: meta/info.json has no robot_type, the name by which the model would know "
                f"its statistics (so far: {', '.join(robots)})"
            )
        robots += [name] if name not in robots else []
    return dataclasses.replace(config, processor=dataclasses.replace(config.processor, robots=tuple(robots)))


def _samples(data: ChunkData, frames: _Ints, seed: int, robots: Sequence[str]) -> dict[str, Sample]:
    """Each robot's own numbers, which tell something of every step of a chunk."""
    rng = np.random.default_rng(seed)
    samples = {robot: _sample(data, frames, rng, robot) for robot in robots}
    for _, _, is_pad in samples.values():
        assert is_pad is not None
        steps = (~is_pad).any(0)
        if not steps.all():
            longest = int(steps.sum())
            raise BadInput(
                f"no episode has {data.horizon} steps in a row (model.decoder.horizon) to learn from, "
                f"{longest} at most: give model.decoder.horizon={max(1, longest)}"
            )
    return samples


def _sample(data: ChunkData, frames: _Ints, random: np.random.Generator, robot: str) -> Sample:
    """A robot's own numbers, out of rows filled up to the widest."""
    number = data.robots.index(robot)
    own = frames[np.isin(data.source_of[frames], np.flatnonzero(np.array(data.robots) == robot))]
    raw = data.gather(np.sort(random.permutation(own)[:FRAMES]))
    features = data.sources[number].dataset.features
    state, actions = (int(features[name]["shape"][0]) for name in (STATE, ACTION))
    return raw["state"][:, :state], raw["actions"][..., :actions], raw["action_is_pad"]
