"""Every cache of every machine has one name, whoever asks for it first."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from flashbulb.audit.stores.claims import machine_name
from tests.audit.stores.conftest import OnMachine

N = 8


@pytest.mark.parametrize("has_links", [True, False])
def test_all_processes_of_a_machine_tell_one_name_which_no_other_has(
    on_machine: OnMachine, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    names = {}
    for machine in ("here", "there"):
        with on_machine(machine) as cache:
            told = at_once(machine_name)
            assert {machine_name(), *told} == {told[0]}
            assert [path.name for path in cache.iterdir()] == [".name"]
            names[machine] = told[0]
    assert names["here"] != names["there"]


def refuse(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def at_once(call: Callable[[], str]) -> list[str]:
    barrier = Barrier(N)

    def call_at_barrier(_: int) -> str:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(N) as pool:
        return list(pool.map(call_at_barrier, range(N)))
