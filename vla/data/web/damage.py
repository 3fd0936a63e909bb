"""What can be wrong with one record, before anyone knows which record it is."""

__all__ = ["Fault"]


class Fault(Exception):
    """kind: a few words, the same for all records of this fault; detail: what this one has."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind
