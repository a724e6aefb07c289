"""A whole audit by several processes, of this machine or of Ray, equals that of one, whichever of them are killed."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import psutil
import pytest

from flashbulb.audit.stages import record
from tests.audit.commands import digests, run_flashbulb, run_json
from tests.audit.plantings import plant_known
from tests.audit.recordings import one_thread
from tests.services.ray_cluster import RayCluster, ray_cluster

PATIENCE = 120.0
HOW = ("timings", "settings", "options", "finished", "seal")
"""Entries of run.json that say when, how or where."""


class Alone(NamedTuple):
    """An audit by one process, with all that others can do of it, and the options of its command but for --out."""

    run: Path
    options: tuple[object, ...]


@pytest.fixture(scope="module")
def alone(inputs, finished, tmp_path_factory) -> Alone:
    """Read-only."""
    folder = tmp_path_factory.mktemp("alone")
    manifest = plant_known(folder / "planted", inputs.model, inputs.prompts, remembered=True)
    images = ("--train-images", finished.run.parent / "training")
    more = ("--canaries", manifest, "--propensity", 5, "--sample", 4, "--shard-size", 2, "--batch-size", 4)
    options = ("audit", *inputs.options(folder / "run"), *images, *more)
    with one_thread():
        answer = run_flashbulb(*options)
    assert answer.code == 0, answer.err
    return Alone(folder / "run", options)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as cluster:
        yield cluster


def results(run: Path) -> tuple[object, ...]:
    """Return the hashes of what a run recorded, made and found, and what it states beside times and places."""
    named = {name: digest for name, digest in digests(run).items() if name.endswith((".parquet", ".png"))}
    kept = {name: digest for name, digest in digests(run).items() if "recovery/" in name}
    return named, kept, {name: value for name, value in run_json(run).items() if name not in HOW}


def audit(alone: Alone, run: Path, *more: object) -> str:
    """Audit likewise, and return the log."""
    with one_thread():
        answer = run_flashbulb(*alone.options, "--out", run, *more)
    assert answer.code == 0, answer.err
    assert results(run) == results(alone.run)
    assert {"canaries", "propensity", "recover"} <= run_json(run)["evaluations"].keys()
    return answer.err


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, "auto"])
def test_workers_of_this_machine_audit_the_same(alone, tmp_path, monkeypatch, n):
    monkeypatch.setattr(record, "fitting_workers", lambda *_: 2)
    log = audit(alone, tmp_path / "run", "--workers", n)
    assert log.count("--workers auto: 2 on this machine") == (2 if n == "auto" else 0)  # to record, and to recover


@pytest.mark.slow
def test_a_worker_of_ray_audits_the_same(alone, cluster, tmp_path):
    log = audit(alone, tmp_path / "run", "--executor", "ray", "--ray-address", cluster.address)
    assert log.count("Ray cluster at") == 2  # to record, and to recover


@pytest.mark.slow
def test_an_audit_whose_actors_are_killed_while_they_record_and_while_they_recover_is_the_same(
    alone, cluster, tmp_path
):
    killed: list[str] = []

    def kill() -> None:
        for stage, sign in (("record", "activations/*/step/part-*.json"), ("recover", "canaries/images/*/seed-*.png")):
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until and not any((tmp_path / "run").glob(sign)):
                time.sleep(0.01)
            for actor in cluster.actors()[:1]:
                with suppress(psutil.NoSuchProcess):
                    actor.kill()
                    killed.append(stage)

    thread = Thread(target=kill)
    thread.start()
    log = audit(alone, tmp_path / "run", "--executor", "ray", "--ray-address", cluster.address, "--workers", 2)
    thread.join()
    assert killed
    assert log.count("is lost") >= 1
