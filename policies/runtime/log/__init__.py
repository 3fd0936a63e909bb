"""Runs of an arm, logged so that nothing of a crash is lost, and training data afterwards."""

from policies.runtime.log.options import LogOptions
from policies.runtime.log.runlog import RUN, RunLog

__all__ = ["RUN", "LogOptions", "RunLog"]
