"""Freed memory goes back to the system, also where something in use lies above it."""

import platform
from pathlib import Path

import pytest

from flashbulb.audit.run.memory import release_freed_memory

MIB = 2**20


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return 4096 * pages


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only this C library has the call")
def test_freed_memory_is_given_back() -> None:
    release_freed_memory()  # that of earlier tests, which the pieces would take
    before = resident()
    pieces = [bytearray(b"x") * 50_000 for _ in range(2_000)]  # too small to be mapped one by one
    above = bytearray(b"x") * 50_000
    assert resident() > before + 80 * MIB
    del pieces
    release_freed_memory()
    assert resident() < before + 20 * MIB
    assert above


def test_where_the_c_library_lacks_the_call_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashbulb.audit.run.memory.ctypes.CDLL", lambda _: object())
    release_freed_memory()
