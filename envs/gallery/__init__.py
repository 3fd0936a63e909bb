"""Pictures with texts, made from rendered scenes far from the robot's table. See `envs.gallery.picture`."""

__all__: list[str] = []
