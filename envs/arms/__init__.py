"""Arms: LeRobot's, Franka's, Trossen's, simulated ones, and what stands in for a bus of servos."""
