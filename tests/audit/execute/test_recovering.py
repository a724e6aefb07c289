"""Images, attempts and findings of several processes, of which some are lost, equal those of one bit for bit."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from flashbulb.audit.additions.chosen import ChosenModel
from flashbulb.audit.additions.lora import MergedLoras
from flashbulb.audit.execute.coordinator import Coordinator
from flashbulb.audit.execute.recovering import ClimbedNeurons, Recoverer, RecoverySpec
from flashbulb.audit.execute.unchanged_model import UnchangedModel
from flashbulb.audit.execute.workers import Workers, open_workers
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.climbing import Recovery, Shown
from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.recovery import recover_all
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.tasks import ClimbTask, Here, OnLadder, Performer
from flashbulb.audit.recover.verify import VerifyPlan
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.results.recovery_tables import memories_table, recoveries_table
from flashbulb.audit.statistics.flags import Chosen
from tests.audit.commands import digests
from tests.audit.recordings import logged, one_thread
from tests.audit.scored import TIMESTEP
from tests.audit.shortages import room_for
from tests.services.ray_cluster import ray_cluster

PATIENT = 300.0
PROMPTS = [Prompt(f"id{i}", f"a star over the sea, number {i}", "p.txt", i, 1) for i in range(7)]
TARGETS = {i: Target(prompt.text, (3, 40 + i, 7), (1.0, -1.0, 1.0)) for i, prompt in enumerate(PROMPTS)}
FLAGGED, CONTROLS = (4, 0, 2, 6), (1, 3, 5)
STRATEGIES = ("sample", "ascend", "extrapolate")


def workers(n: int) -> Workers:
    return Workers("local", n, PATIENT, None, {})


@pytest.fixture(scope="module")
def spec(inputs, scored) -> RecoverySpec:
    path = str(inputs.model)
    fingerprint = load_model(path, device="cpu", dtype=torch.float32, allow_pickle=False).fingerprint
    model = UnchangedModel(ChosenModel(path), fingerprint, "float32", "cpu", None)
    small = {"batch_size": 4, "ascend_steps": 1, "ascend_restarts": 2}
    settings = AuditSettings(model=path, prompts="p", reference=None, out="o", train_images=None, **small)
    return RecoverySpec(
        model=model,
        base=model,
        base_is_inside=False,
        strategies=STRATEGIES,
        values=dict(settings),
        neurons=ClimbedNeurons(scored.columns, scored.baseline, TIMESTEP),
        identities=dict.fromkeys(STRATEGIES, "x"),
        detectors=(),
        training=None,
        plan=SamplePlan(3, 2, 2, 7.5),
        verify=VerifyPlan(3, 2, 2, 4),
        run=Path("nowhere"),
        keep_images=True,
        batch_size=4,
        seed_budget=100,
    )


@contextmanager
def built(spec: RecoverySpec) -> Iterator[Recovery]:
    """Build a recovery in this process, which then rounds like a worker."""
    with one_thread(), computing():
        yield spec.build(open_denoiser(spec.model.load("since").pipe), None, MergedLoras())


def told(recovered: list[Recovered]) -> tuple[object, ...]:
    return recoveries_table(PROMPTS, recovered), memories_table(PROMPTS, recovered), [r.measured for r in recovered]


def recover(recovery: Recovery, performer: Performer) -> tuple[object, ...]:
    return told(recover_all(recovery, PROMPTS, Chosen(FLAGGED, CONTROLS), TARGETS, performer))


@dataclass(frozen=True)
class Alone:
    """The recovery of one process."""

    folder: Path
    told: tuple[object, ...]


@pytest.fixture(scope="module")
def alone(spec, tmp_path_factory) -> Alone:
    """Read-only."""
    folder = tmp_path_factory.mktemp("alone")
    with built(replace(spec, run=folder)) as recovery:
        return Alone(folder, recover(recovery, Here(recovery)))


class Accidents:
    """Performs tasks with workers, of which it kills one and stops another in the middle of a task."""

    def __init__(self, coordinator: Coordinator, log: list[str]) -> None:
        self._coordinator, self._log, self._n_signs = coordinator, log, 0

    def perform(self, tasks, advance):
        def watched(n: int = 1, remark: str = "") -> None:
            advance(n, remark)
            self._n_signs += 1
            if self._n_signs in (4, 8):
                os.kill(active_children()[0].pid, signal.SIGKILL if self._n_signs == 4 else signal.SIGSTOP)
                self._coordinator.timeout = PATIENT if self._n_signs == 4 else 3.0
            if any("has not answered" in line for line in self._log):
                self._coordinator.timeout = PATIENT

        return self._coordinator.perform(tasks, watched)


def test_a_recovery_that_lost_workers_equals_that_of_one_process_bit_for_bit(spec, alone, tmp_path):
    own = replace(spec, run=tmp_path)
    with logged() as log, built(own) as recovery, open_workers(own, workers(2)) as coordinator:
        found = recover(recovery, Accidents(coordinator, log))
    assert found == alone.told
    assert digests(tmp_path) == digests(alone.folder)
    assert sum("was killed by signal 9" in line for line in log) == 1
    assert not active_children()


@pytest.mark.slow
def test_actors_of_ray_recover_the_same(spec, alone, tmp_path):
    own = replace(spec, run=tmp_path)
    with ray_cluster() as cluster, built(own) as recovery:
        actors = Workers("ray", 2, PATIENT, cluster.address, {})
        with open_workers(own, actors) as coordinator:
            assert recover(recovery, coordinator) == alone.told
    assert digests(tmp_path) == digests(alone.folder)


@pytest.mark.parametrize("keep_images", [True, False])
def test_what_is_on_the_disk_is_kept_and_without_images_nothing_is(spec, alone, tmp_path, keep_images):
    own = replace(spec, run=tmp_path, keep_images=keep_images)
    with built(own) as recovery, open_workers(own, workers(2)) as coordinator:
        first = recover(recovery, coordinator)
        files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
        again = recover(recovery, coordinator)
    assert first == again
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files
    assert bool(files) == keep_images


def test_another_model_than_the_recorded_one_is_refused(spec, tmp_path):
    other = replace(spec, run=tmp_path, model=replace(spec.model, fingerprint="another"))
    with (
        built(replace(spec, run=tmp_path)) as recovery,
        open_workers(other, workers(1)) as coordinator,
        pytest.raises(ModelError, match="changed since it was recorded"),
    ):
        recover(recovery, coordinator)


def test_prompts_without_room_climb_as_in_smaller_batches_and_the_log_says_so(spec, tmp_path):
    def climb(folder: Path, batch_size: int, room: int) -> tuple[list[Shown], list[str]]:
        own = replace(spec, run=folder).with_batches_of(batch_size)
        rows = tuple(OnLadder(PROMPTS[i], i, TARGETS[i], Shown()) for i in FLAGGED)
        with logged() as log, one_thread(), computing():
            pipe = own.model.load("since").pipe
            with room_for(room, pipe.unet):
                recoverer = Recoverer(own, open_denoiser(pipe), MergedLoras())
                return recoverer.perform_one(ClimbTask(folder, rows, None), lambda n=1, remark="": None), log

    alike, silent = climb(tmp_path / "small", 2, 10**6)
    shown, log = climb(tmp_path / "short", 8, room=5)  # guided calls take twice as many
    assert [[attempt.outcome for attempt in recovered.attempts] for recovered in shown] == [
        [attempt.outcome for attempt in recovered.attempts] for recovered in alike
    ]
    assert digests(tmp_path / "short") == digests(tmp_path / "small")
    assert [line.split("--batch-size ")[1][:1] for line in log if "memory ran out" in line] == ["4", "2"]
    assert not [line for line in silent if "memory" in line]
