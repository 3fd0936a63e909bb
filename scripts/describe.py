"""What a model does and costs: ``python scripts/describe.py model=tabletop_small`` or ``... policy=PATH``."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from vla.config import command
from vla.configuration import VLAConfig
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

__all__ = ["Describe", "main"]


@dataclass(frozen=True)
class Describe:
    """Options of the command; see conf/describe.yaml."""

    model: VLAConfig = field(default_factory=VLAConfig)
    policy: str | None = None
    out: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.out is not None and self.out.suffix.lower() != ".png":
            raise BadInput(f"out={self.out} is the name of a picture: let it end in .png")


@command("describe", Describe)
def main(config: Describe) -> None:
    """Print the data flow and the bill, draw who attends to whom."""
    from vla.describe import describe, draw, table

    model = _model(config)
    name = config.model.name if config.policy is None else Path(config.policy.rstrip("/")).resolve()
    if isinstance(name, Path):  # outputs/train/mine/policy is told by its run
        name = name.parent.name if name.name == "policy" else name.name
    out = config.out or Path("outputs/describe") / f"{name}.png"
    for path in (out, config.json):
        if path is not None:
            writable_folder(path.parent)
            if path.is_dir():
                raise BadInput(f"{path} is a folder; give the name of a file")
    found = describe(model)
    print(table(found))
    try:
        draw(found, out)
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror or error}") from None
    print(f"\n{out}")
    if config.json is not None:
        write_whole(config.json, json.dumps(found.to_dict(), indent=2) + "\n")
        print(config.json)


def _model(config: Describe) -> VLAConfig:
    """The config of the model that is meant: a saved policy's, or the one composed."""
    if config.policy is None:
        return config.model
    if config.policy in ("expert", "random"):
        raise BadInput(f"the policy '{config.policy}' is no model; give a checkpoint's folder or name")
    from policies import find_checkpoint
    from vla.pretrained import load_processor

    return load_processor(find_checkpoint(config.policy)).config


if __name__ == "__main__":
    main()
