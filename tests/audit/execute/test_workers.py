"""`--workers auto` uses a machine to the full, and no more memory than is free."""

from types import SimpleNamespace

import pytest
import torch

from flashbulb.audit.execute import workers
from flashbulb.audit.execute.workers import Workers, fitting_workers

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """Pretend that this machine has so many threads and so much free memory."""

    def pretend(n_threads: int, free: int) -> None:
        monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
        monkeypatch.setattr(workers.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))

    return pretend


@pytest.mark.parametrize("n_threads", [1, 2, 6])
def test_a_small_model_has_a_worker_a_thread(machine, n_threads):
    machine(n_threads, 64 * GIB)
    n = fitting_workers("cpu", GIB // 10)
    assert n == n_threads
    assert Workers("local", n, 60, None, {}).n_threads == 1


def test_workers_hold_at_most_half_of_the_free_memory(machine):
    machine(8, 64 * GIB)
    counts = [fitting_workers("cpu", size * GIB) for size in range(32)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 8
    assert all(n * size * GIB <= 32 * GIB for size, n in enumerate(counts) if n > 1)
    assert counts[-1] == 1  # the process itself has room for the model, or it would not have been loaded


def test_many_threads_are_shared_by_few_workers(machine):
    machine(128, 1024 * GIB)
    n = fitting_workers("cpu", GIB // 10)
    assert 1 < n < 128
    assert n * Workers("local", n, 60, None, {}).n_threads == 128


@pytest.mark.parametrize(("device", "n"), [("cuda", 4), ("cuda:0", 1), ("cuda:3", 1), ("mps", 1)])
def test_every_gpu_that_is_not_named_has_a_worker(machine, monkeypatch, device, n):
    machine(16, 64 * GIB)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert fitting_workers(device, GIB) == n
