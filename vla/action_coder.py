"""Between the robot's actions and the model's answers: what a processor does with actions.

Legend: B batch, H horizon, D joints of the widest robot, d those of one robot, G groups of n action codes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vla.configuration import FlowConfig, VLAConfig
from vla.data.robots import Joints, Sample, own_rows, own_sample, robot_names, rows_by_robot
from vla.data.statistics import Statistics
from vla.decoders.guidance import Plan
from vla.errors import BadInput, did_you_mean
from vla.interfaces import InFlight
from vla.tokens.actions import ActionTokenizer, build_tokenizer
from vla.tokens.actions.loss import tell_loss
from vla.tokens.vocabulary import Vocabulary

__all__ = ["ActionCoder"]

Floats = npt.NDArray[np.float32]


class ActionCoder:
    """Normalises and tokenises actions, and the way back. No state.

    actions: the fitted action tokenizer; None builds the config's, which is enough where nothing is learned.
    It is None for good where the model's answer is continuous.
    """

    def __init__(
        self, config: VLAConfig, statistics: Statistics, actions: ActionTokenizer | None = None
    ) -> None:
        self.config, self.statistics = config, statistics
        self.vocabulary = Vocabulary.of(config)
        self.actions = actions or _action_tokenizer(config)
        self.joints = {name: Joints.of(config, statistics, name) for name in robot_names(config)}

    def answers(
        self,
        state: Floats | None,
        actions: Floats,
        is_pad: npt.NDArray[np.bool_] | None = None,
        robot: Sequence[str] | None = None,
    ) -> dict[str, Tensor]:
        """What the model is to answer: state [B, D], actions [B, H, D], absolute, is_pad bool [B, H] ->
        targets int64 [B, G, n] and target_mask bool, or for a continuous answer actions float32 [B, H, D]
        and action_mask bool; both where a flow has codes beside it (see `vla.model`)."""
        chunks = self.normalised(state, actions, is_pad, robot)
        count, dim = len(chunks), self.config.decoder.dim
        real = np.ones(chunks.shape[:2], bool) if is_pad is None else ~np.asarray(is_pad, bool)
        has = own_rows([self.joints[r].action_dim for r in self.named(robot, count)], dim)
        mask = torch.from_numpy(real)[..., None] & has[:, None]
        found, config = {}, self.config.decoder.codes
        if isinstance(self.config.decoder, FlowConfig):
            # A joint that the robot lacks is learned as 0: left out, its noise would drift when it acts.
            steps = torch.from_numpy(real)[..., None].expand(chunks.shape)
            found = {"actions": torch.from_numpy(chunks), "action_mask": steps}
        if self.actions is None or config is None:
            return found
        layout, (_, width) = self.actions.layout, config.grid
        codes = self.actions.encode_batch(chunks)
        said = torch.arange(codes.ids.shape[1]) < torch.from_numpy(codes.lengths)[:, None]
        if layout.time_local:
            said = mask.flatten(1)
        elif layout.width == dim:  # a control point is a joint's own
            said = has[:, None].expand(-1, layout.groups, -1).flatten(1)
        ids = torch.from_numpy(codes.ids) + self.vocabulary.action_range.start
        found |= {"targets": ids.unflatten(1, (-1, width)), "target_mask": said.unflatten(1, (-1, width))}
        return found

    def normalised(
        self,
        state: Floats | None,
        actions: Floats,
        is_pad: npt.NDArray[np.bool_] | None = None,
        robot: Sequence[str] | None = None,
    ) -> Floats:
        """Absolute actions [B, H, D] in the robots' units -> float32 [B, H, D] in [-1, 1]: what lies past the
        statistics' range becomes its edge, and steps past the end hold the last action before them."""
        actions = np.asarray(actions, np.float32)
        if is_pad is not None:
            steps = np.where(np.asarray(is_pad, bool), 0, np.arange(actions.shape[1]))
            actions = np.take_along_axis(actions, np.maximum.accumulate(steps, 1)[..., None], 1)
        chunk = np.zeros((*actions.shape[:2], self.config.decoder.dim), np.float32)
        names = self.named(robot, len(actions))
        names = list(names) * len(actions) if len(names) == 1 else names
        for name, rows in rows_by_robot(names):
            joints = self.joints[name]
            sample = own_sample(joints, None if state is None else state[rows], actions[rows])
            chunk[rows, :, : joints.action_dim] = joints.actions(sample)["actions"]
        return chunk.clip(-1.0, 1.0)

    def tell_loss(self, samples: Mapping[str, Sample]) -> None:
        """Print what action codes that are fitted to data make of each robot's numbers."""
        there = {name: sample for name, sample in samples.items() if len(sample[1])}
        if there and self.actions is not None and self.actions.learned:
            tell_loss(self.actions, self.chunks(there))

    def chunks(self, samples: Mapping[str, Sample]) -> Floats:
        """Normalised actions [N, H, D] of all robots: each one's state, actions and is_pad."""
        return np.concatenate(
            [self.normalised(state, actions, pad, [name]) for name, (state, actions, pad) in samples.items()]
        )

    def absolute(self, chunk: Floats, state: Floats | None, robot: str = "") -> Floats:
        """Normalised actions [H, D] and the state they were chosen in [d] -> joint targets of one robot in
        its units, float32 [H, d]. Raises BadInput for an unknown robot."""
        joints = self.joints[self.named([robot], 1)[0]]
        sample = own_sample(joints, None if state is None else state[None], chunk[None])
        return joints.actions.inverse(sample)["actions"][0].astype(np.float32)

    def action_dim(self, robot: str = "") -> int:
        """How many joints a robot's actions move."""
        return self.joints[self.named([robot], 1)[0]].action_dim

    def spread(self, deviation: Floats, robot: str = "") -> Floats:
        """Standard deviations [H, D] of normalised actions -> in the robot's units, float32 [H, d]."""
        joints = self.joints[self.named([robot], 1)[0]]
        sample = own_sample(joints, np.zeros((1, joints.action_dim), np.float32), deviation[None])
        middle = {**sample, "actions": np.zeros_like(sample["actions"])}
        inverse = joints.actions.inverse
        return np.abs(inverse(sample)["actions"] - inverse(middle)["actions"])[0].astype(np.float32)

    def decode(
        self, ids: Tensor | npt.NDArray[np.int64], state: Floats | None = None, robot: str = ""
    ) -> Floats:
        """The action ids of one chunk, in any shape, and the state they were chosen in [d] -> joint targets
        of one robot in its units, float32 [H, d].

        Raises UndecodableChunk for ids that give no chunk, BadInput for an unknown robot.
        """
        assert self.actions is not None
        codes = np.asarray(ids.cpu() if isinstance(ids, Tensor) else ids).reshape(-1)
        chunk = self.actions.decode(codes - self.vocabulary.action_range.start)
        return self.absolute(chunk, state, robot)

    def plan(self, plans: Sequence[InFlight | None], states: Floats | None, robot: Sequence[str]) -> Plan:
        """Plans in flight, one an observation (None: there is none), as the model's next chunk would say
        them. states: [B, D], of the observations. Raises BadInput for a plan that cannot be one."""
        horizon, dim = self.config.decoder.horizon, self.config.decoder.dim
        actions = np.zeros((len(plans), horizon, dim), np.float32)
        weights, delay = np.zeros((len(plans), horizon), np.float32), np.zeros(len(plans), np.int64)
        names = self.named(robot, len(plans))
        for i, each in enumerate(plans):
            if each is None or len(each.actions) == 0:
                continue
            each.validate(self.joints[names[i]].action_dim)
            count = min(len(each.actions), horizon)
            held = np.minimum(np.arange(horizon), count - 1)
            actions[i, :, : each.actions.shape[1]] = each.actions[held]
            weights[i, :count], delay[i] = each.weights[:count], min(each.delay, count)
        chunk = self.normalised(states, actions, None, robot)
        return Plan(torch.from_numpy(chunk), torch.from_numpy(weights), torch.from_numpy(delay))

    def named(self, given: Sequence[str] | None, count: int) -> Sequence[str]:
        """Each sample's robot, as the statistics name it."""
        if "" in self.joints:  # a single robot needs no name
            return [""] * count
        known = ", ".join(self.joints)
        only = next(iter(self.joints)) if len(self.joints) == 1 else ""
        names = [name or only for name in given or [""] * count]
        for name in dict.fromkeys(names):
            if not name:
                raise BadInput(f"the observation does not say which robot it is of ('robot'); known: {known}")
            if name not in self.joints:
                hint = did_you_mean(name, self.joints)
                near = hint if "did you mean" in hint else ""
                raise BadInput(f"unknown robot '{name}'{near}; the model was trained with: {known}")
        return names


def _action_tokenizer(config: VLAConfig) -> ActionTokenizer | None:
    decoder = config.decoder
    if decoder.tokenizer is None:
        return None
    return build_tokenizer(decoder.tokenizer, decoder.horizon, decoder.dim)
