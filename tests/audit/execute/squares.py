"""Work without a model, for tests of what hands it out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flashbulb.audit.run.progress import Advance


@dataclass(frozen=True)
class Square:
    """A task: the square of a number. `discarded` holds the number as often as a worker was lost with it."""

    n: int
    discarded: list[int] = field(default_factory=list, compare=False)

    def __str__(self) -> str:
        return f"square {self.n}"

    def discard(self) -> None:
        self.discarded.append(self.n)


@dataclass(frozen=True)
class Squares:
    """Squares numbers, but stops at one of `stuck` while the folder holds a file of that name."""

    folder: Path
    stuck: tuple[int, ...] = ()
    device: str = "cpu"

    @contextmanager
    def opened(self) -> Iterator[Callable[[Square, Advance], int]]:
        yield self._square

    def _square(self, task: Square, advance: Advance) -> int:
        if task.n < 0:
            raise ValueError(f"{task.n} is negative")
        advance(1)
        while task.n in self.stuck and (self.folder / str(task.n)).exists():
            pass
        return task.n**2


class Count:
    """Counts units that are done."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, n: int = 1, remark: str = "") -> None:
        self.n += n
