"""The safety filter, the arm that can only be moved through it, and the emergency stop."""

from policies.runtime.safety.config import JointLimits, Obstacle, Safety, StopSources, Workspace
from policies.runtime.safety.decision import KINDS, Decision, Intervention
from policies.runtime.safety.emergency import EmergencyStop
from policies.runtime.safety.filter import SafetyFilter
from policies.runtime.safety.guarded import GuardedArm

__all__ = [
    "KINDS",
    "Decision",
    "EmergencyStop",
    "GuardedArm",
    "Intervention",
    "JointLimits",
    "Obstacle",
    "Safety",
    "SafetyFilter",
    "StopSources",
    "Workspace",
]
