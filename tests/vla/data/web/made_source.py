"""A source in memory, of which any records are damaged."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from web_files import pixels

from vla.data.web.sample import Box, Damaged, Turn, WebSample


@dataclass
class Made:
    """Records 0 .. count - 1, those in `bad` damaged; asked: every number that was read."""

    count: int
    bad: frozenset[int] = frozenset()
    height: int = 16
    width: int = 16
    name: str = "made"
    identity: str = "0123"
    asked: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> WebSample:
        self.asked.append(number)
        return WebSample((pixels(number, self.height, self.width),), self.turns(number))

    def turns(self, number: int) -> tuple[Turn, ...]:
        if not 0 <= number < self.count:
            raise IndexError(number)
        if number in self.bad:
            raise Damaged(f"made: record {number}: rotten ({number})", "rotten")
        return (Turn(f"what is {number}", f"thing {number}", (Box(0.25, 0.25, 0.5, 1.0),)),)

    def texts(self) -> Iterator[str]:
        yield from ("what", "thing")
