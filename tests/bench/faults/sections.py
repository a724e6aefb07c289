"""The sections of the bench by name, whole and short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.bench.faults.corrupt import try_corruption
from tests.bench.faults.disk import try_disk
from tests.bench.faults.hostile import try_hostile
from tests.bench.faults.inputs.kinds import try_kinds
from tests.bench.faults.kills import try_kills
from tests.bench.faults.readings import SHORT as SHORT_AUDIT
from tests.bench.faults.readings import try_readings
from tests.bench.faults.stores import try_stores
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial
from tests.bench.faults.workers import try_workers

Section = Callable[[Toys, Path, int], Iterator[Trial]]

SECTIONS: dict[str, Section] = {
    "kinds": try_kinds,
    "kills": partial(try_kills, n_moments=3),
    "workers": partial(try_workers, n_kills=4, n_coordinators=1),
    "stores": partial(try_stores, n_kills=5),
    "disk": partial(try_disk, n_moments=2),
    "corrupt": partial(try_corruption, most=110),
    "hostile": try_hostile,
    "readings": try_readings,
}
SHORT: dict[str, Section] = {
    "kinds": try_kinds,
    "kills": partial(try_kills, n_moments=1),
    "workers": partial(try_workers, n_kills=1, n_coordinators=1),
    "stores": partial(try_stores, n_kills=1),
    "disk": partial(try_disk, n_moments=1),
    "corrupt": partial(try_corruption, most=15),
    "hostile": try_hostile,
    "readings": partial(try_readings, names=("embedded",), options=(*SHORT_AUDIT, "--sample-steps", 10)),
}
"""The same with fewer moments and mutations, in minutes."""
