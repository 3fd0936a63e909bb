"""An SO-101 arm on a table with things to touch, lift, move, push and stack."""

import envs.rendering  # noqa: F401  (chooses the GL backend before mujoco is imported)
