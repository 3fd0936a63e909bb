"""The control table of a Feetech STS3215: names, addresses, sizes, what a new servo holds in them.

Two halves: below `SRAM` is what survives a loss of power (if it was written while `Lock` was 0), above is
what does not. Words are little endian; signed ones are a magnitude and a sign bit. Addresses and sign bits
are those of LeRobot's `lerobot.motors.feetech.tables`, which the tests compare them with.
"""

__all__ = ["DEFAULTS", "READ_ONLY", "REGISTERS", "SIGN_BITS", "SIZE", "SRAM", "signed", "unsigned"]

SIZE = 128
"""Bytes of a servo's memory that can be addressed."""
SRAM = 40

REGISTERS: dict[str, tuple[int, int]] = {
    "Firmware_Major_Version": (0, 1),
    "Firmware_Minor_Version": (1, 1),
    "Model_Number": (3, 2),
    "ID": (5, 1),
    "Baud_Rate": (6, 1),
    "Return_Delay_Time": (7, 1),
    "Response_Status_Level": (8, 1),
    "Min_Position_Limit": (9, 2),
    "Max_Position_Limit": (11, 2),
    "Max_Temperature_Limit": (13, 1),
    "Max_Voltage_Limit": (14, 1),
    "Min_Voltage_Limit": (15, 1),
    "Max_Torque_Limit": (16, 2),
    "Phase": (18, 1),
    "Unloading_Condition": (19, 1),
    "LED_Alarm_Condition": (20, 1),
    "P_Coefficient": (21, 1),
    "D_Coefficient": (22, 1),
    "I_Coefficient": (23, 1),
    "Protection_Current": (28, 2),
    "Homing_Offset": (31, 2),
    "Operating_Mode": (33, 1),
    "Protective_Torque": (34, 1),
    "Protection_Time": (35, 1),
    "Overload_Torque": (36, 1),
    "Torque_Enable": (40, 1),
    "Acceleration": (41, 1),
    "Goal_Position": (42, 2),
    "Goal_Time": (44, 2),
    "Goal_Velocity": (46, 2),
    "Torque_Limit": (48, 2),
    "Lock": (55, 1),
    "Present_Position": (56, 2),
    "Present_Velocity": (58, 2),
    "Present_Load": (60, 2),
    "Present_Voltage": (62, 1),
    "Present_Temperature": (63, 1),
    "Status": (65, 1),
    "Moving": (66, 1),
    "Present_Current": (69, 2),
    "Moving_Velocity": (80, 1),
    "Maximum_Acceleration": (85, 1),
}
"""Name -> (address, bytes)."""

READ_ONLY = (*range(5), *range(56, 72))
"""Addresses that a master cannot write."""

SIGN_BITS = {
    "Homing_Offset": 11,
    "Goal_Position": 15,
    "Goal_Velocity": 15,
    "Present_Position": 15,
    "Present_Velocity": 15,
    "Present_Load": 10,
}

DEFAULTS = {
    "Firmware_Major_Version": 3,
    "Firmware_Minor_Version": 10,
    "Model_Number": 777,
    "Return_Delay_Time": 250,
    "Response_Status_Level": 1,
    "Max_Position_Limit": 4095,
    "Max_Temperature_Limit": 70,  # degrees Celsius
    "Max_Voltage_Limit": 80,  # tenths of a volt: the 7.4 V version
    "Min_Voltage_Limit": 40,
    "Max_Torque_Limit": 1000,  # thousandths
    "Phase": 12,
    "Unloading_Condition": 44,
    "LED_Alarm_Condition": 47,
    "P_Coefficient": 32,
    "D_Coefficient": 32,
    "Protection_Current": 500,
    "Protective_Torque": 20,  # percent
    "Protection_Time": 200,  # hundredths of a second
    "Overload_Torque": 80,  # percent
    "Lock": 1,
    "Maximum_Acceleration": 254,
}
"""What a servo from the factory holds; the rest is 0."""


def unsigned(name: str, value: int) -> int:
    """A register's value as it is stored: magnitude and sign bit where it has one."""
    bit = SIGN_BITS.get(name)
    if bit is None:
        return value
    return min(abs(value), (1 << bit) - 1) | ((value < 0) << bit)


def signed(name: str, stored: int) -> int:
    """What a stored value means."""
    bit = SIGN_BITS.get(name)
    if bit is None:
        return stored
    magnitude = stored & ((1 << bit) - 1)
    return -magnitude if stored >> bit & 1 else magnitude
