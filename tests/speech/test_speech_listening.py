"""Listening: where utterances begin and end, threads that end, rings that never block."""

import io
import threading
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla.errors import BadInput
from vla.speech import silero as silero_module
from vla.speech.augment import generator
from vla.speech.effects import add_noise
from vla.speech.endpoint import EndpointConfig, Endpointer, Heard
from vla.speech.engines import open_engine
from vla.speech.listener import Listener, utterances
from vla.speech.noises import music, pink
from vla.speech.ring import Ring
from vla.speech.silero import CHUNK, Silero, weights_file
from vla.speech.sources import FileSource, Microphone, RawSource

SENTENCE = "put the red cube into the blue bowl"
_Sound = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def spoken() -> _Sound:
    """A second of silence, a command, a second of silence."""
    return np.pad(open_engine("flite").say(SENTENCE, "slt"), 16_000)


def numbered(probabilities: list[float], config: EndpointConfig) -> list[tuple[int, int, Heard]]:
    """(first chunk, last chunk, utterance) of chunks that hold their own number."""
    endpointer, found = Endpointer(config), []
    for number, probability in enumerate(probabilities):
        heard = endpointer.feed(probability, np.full(CHUNK, number, np.float32))
        if heard is not None:
            found.append((int(heard.sound[0]), int(heard.sound[-1]), heard))
    return found


PLAIN = EndpointConfig(
    begin=3, silence=3 * 0.032, join=10 * 0.032, before=2 * 0.032, shortest=0.1, longest=1.6
)


def test_an_utterance_keeps_what_came_before_it_and_ends_with_a_pause() -> None:
    ((first, last, heard),) = numbered([0.0] * 10 + [0.9] * 8 + [0.0] * 20, PLAIN)
    assert (first, last) == (10 - 3, 17 + 3) and not heard.cut and not heard.again
    assert heard.began == pytest.approx(7 * 0.032) and heard.ended == pytest.approx(18 * 0.032)
    assert heard.ready == pytest.approx(21 * 0.032)


def test_a_click_is_nothing_and_a_pause_within_gives_the_whole_again() -> None:
    assert numbered([0.0] * 5 + [0.9] * 2 + [0.0] * 20, PLAIN) == []
    first, second = numbered([0.0] * 5 + [0.9] * 5 + [0.0] * 5 + [0.9] * 5 + [0.0] * 20, PLAIN)
    assert first[:2] == (2, 12) and second[:2] == (2, 22)
    assert not first[2].again and second[2].again
    apart = numbered([0.0] * 5 + [0.9] * 5 + [0.0] * 14 + [0.9] * 5 + [0.0] * 20, PLAIN)
    assert [each[2].again for each in apart] == [False, False] and apart[1][0] > apart[0][1]


def test_a_monologue_is_cut_once_and_then_waited_out() -> None:
    ((first, last, heard),) = numbered([0.0] * 5 + [0.9] * 200 + [0.0] * 20, PLAIN)
    assert heard.cut and first == 2 and len(heard.sound) == 50 * CHUNK and last == 51
    after = numbered([0.9] * 200 + [0.0] * 20 + [0.9] * 5 + [0.0] * 20, PLAIN)
    assert [each[2].cut for each in after] == [True, False]


@given(st.lists(st.sampled_from([0.0, 0.4, 0.9]), max_size=400))
def test_whatever_comes_little_is_kept_and_utterances_are_in_order(probabilities: list[float]) -> None:
    endpointer, ready = Endpointer(PLAIN), 0.0
    for number, probability in enumerate(probabilities):
        heard = endpointer.feed(probability, np.full(CHUNK, number, np.float32))
        assert len(endpointer._kept) <= 51
        if heard is not None:
            assert ready < heard.ready == pytest.approx((number + 1) * 0.032)
            assert heard.began < heard.ended <= heard.ready and len(heard.sound) <= 50 * CHUNK
            assert (np.diff(heard.sound[::CHUNK]) == 1).all()  # no chunk is lost or doubled
            ready = heard.ready


@pytest.mark.parametrize(
    "wrong", [{"end": 0.6}, {"longest": 0.5}, {"silence": 0.0}, {"join": 0.01}, {"begin": 0}]
)
def test_wrong_settings_are_one_line(wrong: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(BadInput, match=next(iter(wrong))):
        EndpointConfig(**wrong)


def test_silero_is_what_its_weights_mean(spoken: _Sound) -> None:
    """Against the package's own description of the network (its tinygrad_model.py), in torch."""
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file

    w, heard, state = load_file(weights_file()), Silero(), None
    context = torch.zeros(64)
    cell = torch.nn.LSTMCell(128, 128)
    cell.load_state_dict({name.removeprefix("lstm_cell."): w[name] for name in w if name.startswith("lstm")})
    for first in range(0, 60 * CHUNK, CHUNK):
        chunk = torch.from_numpy(spoken[first : first + CHUNK])
        x = torch.cat([context, chunk])
        context = x[-64:]
        with torch.no_grad():
            x = F.conv1d(F.pad(x[None, None], (0, 64), "reflect"), w["stft_conv.weight"], stride=128)
            x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
            for i, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
                x = F.conv1d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"], stride, 1).relu()
            state = cell(x[:, :, 0], state)
            out = F.conv1d(state[0][:, :, None].relu(), w["final_conv.weight"], w["final_conv.bias"])
        assert heard(chunk.numpy()) == pytest.approx(out.sigmoid().item(), abs=1e-4)


def test_listening_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'vla\[speech\]'"):
        Silero()


@pytest.mark.parametrize("decibels", [None, 10.0])
def test_a_command_is_heard_once_whole_and_soon(spoken: _Sound, decibels: float | None) -> None:
    sound = spoken
    if decibels is not None:
        sound = add_noise(spoken, pink(len(spoken), generator(0, 1)), decibels).astype(np.float32)
    *parts, heard = utterances(sound)
    assert all(part.ready < heard.ready for part in parts) and heard.again == bool(parts)
    loud = np.flatnonzero(np.abs(spoken) > 0.02)[[0, -1]] / 16_000
    assert heard.began < loud[0] and loud[1] < heard.ready < loud[1] + 0.45


def _nothing(kind: str) -> _Sound:
    if kind == "silence":
        return np.zeros(160_000, np.float32)
    noise = music if kind == "music" else pink
    return (0.1 * noise(160_000, generator(0, 3))).astype(np.float32)


@pytest.mark.parametrize("kind", ["silence", "music", "pink"])
def test_what_is_no_speech_is_no_utterance(kind: str) -> None:
    assert list(utterances(_nothing(kind))) == []


def test_ten_minutes_of_talk_hold_little_memory_and_each_command_is_found(spoken: _Sound) -> None:
    """Twenty times the same, without threads: as many utterances, none longer than the longest."""
    found = [heard for heard in utterances(np.tile(spoken, 4)) if not heard.again]
    assert len(found) == 4 and all(len(heard.sound) < 5 * 16_000 for heard in found)


def test_a_ring_keeps_the_newest_in_order_and_counts_what_it_lost() -> None:
    ring = Ring(0.1)  # 1600 samples
    for first in range(0, 5000, 500):
        ring.put(np.arange(first, first + 500, dtype=np.float32))
    assert ring.lost == 5000 - 1600
    taken = ring.take(1600, 0.0)
    assert taken is not None and taken.tolist() == list(range(3400, 5000))
    assert ring.take(1, 0.01) is None
    ring.put(np.zeros(5, np.float32))
    ring.close()
    assert ring.take(5, 0.0) is not None and ring.take(1, 10.0) is None and ring.closed


def test_a_listener_finds_what_a_recording_holds_and_ends(spoken: _Sound) -> None:
    before = threading.active_count()
    expected = list(utterances(spoken))
    with Listener(FileSource(spoken, real_time=False)) as listener:
        found = []
        while not listener.done:
            heard = listener.poll(0.1)
            found += [heard] if heard is not None else []
    assert len(found) == len(expected) and np.array_equal(found[-1].sound, expected[-1].sound)
    assert listener.lost == 0 and listener.chunks >= len(spoken) // CHUNK
    assert threading.active_count() == before


def test_polling_never_waits_and_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    with Listener(FileSource(np.zeros(60 * 16_000, np.float32), real_time=True)) as listener:
        start = time.monotonic()
        assert all(listener.poll() is None for _ in range(100))
        assert time.monotonic() - start < 1.0
    assert threading.active_count() == before


class _Says:
    """A stand-in that hears stop in the 20th chunk."""

    def __init__(self) -> None:
        self.count = 0

    def feed(self, chunk: _Sound, probability: float) -> bool:
        self.count += 1
        return self.count == 20

    def reset(self) -> None: ...


def test_stop_is_told_at_once_from_the_listening_thread(spoken: _Sound) -> None:
    held = []
    with Listener(
        FileSource(spoken, real_time=False),
        stop=_Says(),
        on_stop=lambda: held.append(threading.current_thread()),
    ) as listener:
        assert listener.stopped.wait(10.0)
    assert listener.stops == [pytest.approx(20 * 0.032)]
    assert [thread.name for thread in held] == ["listener"]


def test_what_fails_in_the_thread_is_raised_where_it_is_polled(spoken: _Sound) -> None:
    def fail() -> None:
        raise RuntimeError("the arm is gone")

    with Listener(FileSource(spoken, real_time=False), stop=_Says(), on_stop=fail) as listener:
        deadline = time.monotonic() + 10
        with pytest.raises(RuntimeError, match="the arm is gone"):
            while time.monotonic() < deadline:
                listener.poll(0.05)


def test_raw_samples_of_any_piece_size_are_the_same(spoken: _Sound) -> None:
    class Pipe(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return self.read(333)  # odd: a sample is torn apart

    data = (spoken * 32767).astype("<i2").tobytes()
    ring = Ring(30)
    RawSource(Pipe(data)).start(ring)
    while not ring.closed:
        time.sleep(0.01)
    heard = ring.take(len(spoken), 1.0)
    assert heard is not None and np.abs(heard - spoken).max() < 1e-4


def test_a_missing_microphone_is_one_line() -> None:
    with pytest.raises(BadInput, match="microphone") as error:
        Microphone("no such device").start(Ring())
    assert "\n" not in str(error.value)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [t for t in threading.enumerate() if t.name in ("listener", "sound file")]
