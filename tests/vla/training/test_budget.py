"""A run that goes on with another budget tells in one line what its learning rate does."""

from pathlib import Path

import pytest
from toy import trainer

from vla.training.budget import Budget
from vla.training.config import OptimConfig


def told(config: OptimConfig, before: Budget, now: Budget, done: int, elapsed: float = 0.0) -> str | None:
    return now.told_instead_of(before.to_dict(), config, done // now.batch, elapsed)


COSINE = OptimConfig(lr=1e-3, schedule="cosine", warmup=0)
WSD = OptimConfig(lr=1e-3, warmup=0, decay=0.25)


def test_a_finished_cosine_that_is_extended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    optim = OptimConfig(lr=1e-2, warmup=32, ema=0.9, schedule="cosine")
    trainer(tmp_path, 80, optim=optim).run()
    capsys.readouterr()
    trainer(tmp_path, 80, optim=optim).run()  # the same budget: nothing to say
    assert "learning rate" not in capsys.readouterr().out
    trainer(tmp_path, 160, optim=optim).run()
    [line] = [line for line in capsys.readouterr().out.splitlines() if "learning rate" in line]
    for words in (
        "trainer.samples was 80, is 160: the learning rate goes up from 0 to 0.005",
        "falls along a cosine to 0 at sample 160",
        "a cosine over 80 samples behind them",
        "trainer.optim.schedule=wsd",
    ):
        assert words in line, line
    capsys.readouterr()
    trainer(tmp_path, 160, optim=optim).run()  # said once: the checkpoint has the new budget
    assert "learning rate" not in capsys.readouterr().out


def test_a_budget_below_what_is_done_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, 80).run()
    capsys.readouterr()
    trainer(tmp_path, 40).run()
    assert "trainer.samples was 80, is 40: so much is trained already" in capsys.readouterr().out


def test_wsd_before_its_fall_and_within_it() -> None:
    before, now = Budget(1000, 10), Budget(2000, 10)
    early, late = told(WSD, before, now, 700), told(WSD, before, now, 900)
    assert early is not None and "the learning rate stays 0.001, then holds its peak" in early
    assert "over the last 25% of the run to 0 at sample 2,000" in early and "loss may rise" not in early
    assert late is not None and "goes up from 0.0004 to 0.001" in late and "loss may rise" in late


def test_shorter_and_by_the_clock() -> None:
    shorter = told(COSINE, Budget(1000, 10), Budget(500, 10), 250)
    assert shorter is not None and "goes down from 0.00085 to 0.0005" in shorter and "wsd" not in shorter
    timed = told(COSINE, Budget(1000, 10, 10.0), Budget(1000, 10, 20.0), 100, elapsed=600.0)
    assert timed is not None and "trainer.max_minutes was 10, is 20: the learning rate goes up" in timed
    assert "or minute 20" in timed


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert Budget(100, 10).told_instead_of(None, COSINE, 5, 0.0) is None
    assert told(COSINE, Budget(100, 10), Budget(100, 10), 50) is None


def test_share_is_the_larger_of_both() -> None:
    budget = Budget(105, 10, 2.0)
    assert budget.steps == 11 and budget.share(11, 0.0) == 1.0
    assert budget.share(1, 60.0) == 0.5 and budget.share(1, 600.0) == 1.0
