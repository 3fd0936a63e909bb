import json

import pytest

from vla.configuration import CameraConfig, DecoderConfig, ImageConfig, ProcessorConfig, VLAConfig
from vla.errors import BadInput


def test_round_trip_through_json() -> None:
    config = VLAConfig(
        name="x", image=ImageConfig(cameras=(CameraConfig("top", 64),)), decoder=DecoderConfig(horizon=7)
    )
    assert VLAConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert VLAConfig.from_dict({}) == VLAConfig()


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"bakbone": {}}, "did you mean 'backbone'"),
        ({"decoder": {"kind": "parallel", "horizn": 3}}, "did you mean 'horizon'"),
        ({"decoder": {"kind": "paralel"}}, "did you mean 'parallel'"),
        ({"backbone": {"kind": "small", "width": 100}}, "multiple of backbone.heads"),
        ({"backbone": {"width": 100}}, "needs a kind: one of small, transformers"),
        ({"fusion": {"kind": "lat"}}, "did you mean 'late'"),
        ({"image": {"cameras": [{"name": "a", "size": 50}]}}, "multiple of 8"),
        ({"decoder": {"kind": "parallel", "dim": 7}}, "decoder.dim is 7"),
        ({"processor": {"actions": "mean_std"}}, "cannot be cut into bins"),
        ({"decoder": {"kind": "parallel", "tokenizer": None}}, "choose model/tokenizer=bins or another"),
        (
            {"decoder": {"kind": "flow", "tokenizer": {"kind": "fast"}}},
            "decoder.kind=flow answers with numbers, not with codes of decoder.tokenizer.kind=fast",
        ),
    ],
)
def test_bad_config_is_one_line(raw: dict, line: str) -> None:
    with pytest.raises(BadInput) as error:
        VLAConfig.from_dict(raw)
    assert line in str(error.value)


def test_absolute_actions_need_no_state_of_their_size() -> None:
    VLAConfig.from_dict({"processor": {"relative": [False] * 6}, "state": {"dim": 9}})
    assert ProcessorConfig().relative == (True,) * 5 + (False,)
