"""The transfer experiment: whether what only pictures with texts tell reaches the robot's hand."""
