"""The sections of the bench by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.bench.faults.corrupt import try_corruption
from tests.bench.faults.disk import try_disk
from tests.bench.faults.kills import try_kills
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial

Section = Callable[[Toys, Path, int], Iterator[Trial]]

SECTIONS: dict[str, Section] = {
    "kills": partial(try_kills, n_moments=6),
    "disk": partial(try_disk, n_moments=4),
    "corrupt": partial(try_corruption, most=110),
}
