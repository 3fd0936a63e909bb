"""What a Franka controller says of its arm: the joints' ranges, out of the URDF that it sends."""

import xml.etree.ElementTree as ET

from vla.arm import ArmFault

__all__ = ["position_limits"]

JOINTS = 7


def position_limits(urdf: str) -> tuple[list[float], list[float]]:
    """Lower and upper limits of the seven joints, rad. Raises ArmFault for another arm's model."""
    try:
        root = ET.fromstring(urdf)
    except ET.ParseError as error:
        raise ArmFault(f"the arm's own model cannot be read: {error}") from None
    limits = {
        joint.get("name", ""): (float(limit.get("lower", "nan")), float(limit.get("upper", "nan")))
        for joint in root.iter("joint")
        if joint.get("type") == "revolute" and (limit := joint.find("limit")) is not None
    }
    found = [limits[name] for index in range(JOINTS) for name in limits if name.endswith(f"joint{index + 1}")]
    if len(found) != JOINTS:
        raise ArmFault(
            f"the arm '{root.get('name')}' has the joints {', '.join(limits)}, not the seven of an FR3"
        )
    return [low for low, _ in found], [high for _, high in found]
