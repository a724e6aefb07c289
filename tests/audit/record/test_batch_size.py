"""A batch size grows while it pays and fits; where memory runs out, a shard is recorded in smaller batches."""

import pytest
import torch

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.batch_size import MIN_GAIN, find_batch_size, grow
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.audit.record.rows import STEP_FOLDER
from flashbulb.audit.record.sets import record_set
from flashbulb.hooks import read_manifest
from tests.audit.commands import digests
from tests.audit.recordings import logged
from tests.audit.shortages import ON_CPU, ON_GPU, room_for
from tests.cases import each_with_one

N_SEEDS = 4
PROMPTS = [Prompt(f"id{i}", f"a star over the sea, number {i}", "p.txt", i, 1) for i in range(6)]
PLAN = Plan(run_seed=7, n_seeds=N_SEEDS, timestep=981, batch_size=8, shard_size=3)
KINDS = ("text_mlp", "cross_k", "feed_forward")


def recorder_of(pipe, batch_size):
    denoiser = open_denoiser(pipe)
    plan = Plan(PLAN.run_seed, PLAN.n_seeds, PLAN.timestep, batch_size, PLAN.shard_size)
    return Recorder(denoiser, denoiser.sites(KINDS), [], plan)


class Machine:
    """A machine with a cost for every call and every latent of it, and room for some latents."""

    def __init__(self, per_call: float, per_latent: float, room: int) -> None:
        self.per_call, self.per_latent, self.room, self.tried = per_call, per_latent, room, list[int]()

    def seconds(self, size: int) -> float:
        self.tried.append(size)
        if size > self.room:
            raise ON_CPU
        return self.per_call / size + self.per_latent


@pytest.mark.parametrize("room", [1, 2, 3, 4, 5, 31, 64, 10**6])
@pytest.mark.parametrize("per_call", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("most", [4, 48, 1024])
def test_the_size_fits_and_half_of_it_was_measurably_slower_and_its_double_is_not_faster(room, per_call, most):
    machine = Machine(per_call, 1.0, room)
    size = grow(machine.seconds, N_SEEDS, most)
    assert size <= max(1, room)
    assert size <= max(N_SEEDS, most)
    assert max(machine.tried) <= max(N_SEEDS, 2 * size)  # never far beyond
    if size > N_SEEDS:
        assert machine.seconds(size // 2) >= MIN_GAIN * machine.seconds(size)
    if size >= N_SEEDS and 2 * size <= min(room, most):
        assert machine.seconds(size) < MIN_GAIN * machine.seconds(2 * size)


@pytest.mark.parametrize(("room", "error"), each_with_one([1, 3, 4, 9], [ON_CPU, ON_GPU]))
def test_a_size_is_found_that_the_model_has_room_for(toy_pipe, room, error):
    with room_for(room, toy_pipe.unet, error) as sizes:
        size = find_batch_size(lambda size: recorder_of(toy_pipe, size), PROMPTS, N_SEEDS, torch.device("cpu"))
    assert 1 <= size <= room
    assert max(sizes) <= N_SEEDS * len(PROMPTS)


def test_another_error_is_no_shortage(toy_pipe):
    with room_for(0, toy_pipe.unet, RuntimeError("shapes cannot be multiplied")) as sizes, pytest.raises(RuntimeError):
        find_batch_size(lambda size: recorder_of(toy_pipe, size), PROMPTS, N_SEEDS, torch.device("cpu"))
    assert len(sizes) == 1


@pytest.fixture
def recorded(toy_pipe, tmp_path):
    """Return a function that records the prompts into a folder, with room for so many latents in a call."""

    def record(name, batch_size, room=10**6):
        recorder = recorder_of(toy_pipe, batch_size)
        with logged() as log, room_for(room, toy_pipe.unet):
            record_set(recorder, PROMPTS, tmp_path / name, {"fingerprint": "x"}, "recording")
        return tmp_path / name, log

    return record


def test_a_shard_without_room_is_recorded_as_in_smaller_batches_and_the_log_says_so(recorded):
    expected, silent = recorded("small", 2)
    folder, log = recorded("short", 8, room=3)
    assert digests(folder) == digests(expected)
    warnings = [line for line in log if line.startswith("memory ran out")]
    assert [line.split("--batch-size ")[1].split(";")[0] for line in warnings] == ["4", "2"]
    assert not [line for line in silent if "memory" in line]
    manifest = read_manifest(folder / STEP_FOLDER / "part-00001.parquet")
    assert manifest.entries["batch_size"] == 2


def test_progress_counts_each_prompt_once(toy_pipe, tmp_path):
    from flashbulb.audit.record.recorder import Shard

    counts: list[int] = []
    recorder, shard = recorder_of(toy_pipe, 4), Shard(0, tuple(PROMPTS), tmp_path, {"fingerprint": "x"})
    with room_for(4, toy_pipe.unet):

        def advance(n: int = 1, remark: str = "") -> None:
            counts.append(n)
            if sum(counts) == 2 and not any(n < 0 for n in counts):
                raise torch.OutOfMemoryError("CUDA out of memory")

        recorder.record_shards([shard], advance)
    assert sum(counts) == len(PROMPTS)
    assert min(counts) == -2


def test_a_model_without_room_for_one_latent_raises_what_it_raised(recorded, tmp_path):
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        recorded("none", 4, room=0)
    assert not list(tmp_path.rglob("part-*"))
