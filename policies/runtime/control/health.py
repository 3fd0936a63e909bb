"""When the arm may go on after trouble: once all has been well for a while."""

__all__ = ["Health"]


class Health:
    """settle: seconds for which nothing may be wrong before the arm moves again."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._ill = False
        self._since: float | None = None  # from when on all has been well again

    def update(self, trouble: bool, now: float) -> bool:
        """Whether the arm may move now. `fell_ill` tells whether it could until now."""
        if trouble:
            self.fell_ill = not self._ill
            self._ill, self._since = True, None
            return False
        self.fell_ill = False
        if self._ill:
            self._since = now if self._since is None else self._since
            self._ill = now - self._since < self._settle
        return not self._ill

    fell_ill = False
    """Whether the trouble has just begun."""
