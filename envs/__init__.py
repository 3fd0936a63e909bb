"""The worlds. Importing this registers ``vla/Tabletop-v0`` with Gymnasium; nothing heavy is loaded yet."""

import gymnasium

__all__: list[str] = []

if "vla/Tabletop-v0" not in gymnasium.registry:
    gymnasium.register(id="vla/Tabletop-v0", entry_point="envs.tabletop.env:TabletopEnv")
