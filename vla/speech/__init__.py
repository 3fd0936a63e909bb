"""Speech: engines that speak, a corpus of what they said, what a room does to it, and live listening.

No torch here: everything is numpy, so that a robot's small computer can listen without the model. What is
optional (engines, silero's weights, pocketsphinx, a microphone) is imported where it is used.
"""
