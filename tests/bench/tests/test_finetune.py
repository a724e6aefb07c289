"""The benchmark of fine-tunes trains what it says, and writes LoRAs that the audit merges into the trained model."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from flashbulb.audit.additions.chosen import ChosenModel
from flashbulb.audit.detectors import find_detectors
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.planted.paths import MODEL
from flashbulb.audit.record.recorder import Plan, Recorder
from tests.audit.files.loras import load
from tests.bench.finetune import training
from tests.bench.finetune.low_rank import COMPONENTS
from tests.bench.finetune.pairs import N_DUPLICATED, N_RARE, RARE_VIEWS, new_pairs, schedule_of
from tests.bench.finetune.peers import BATCH_SIZE, N_SEEDS, N_STEPS, PEERS, SHARD_SIZE, record_peers
from tests.bench.finetune.training import FineTune, Kind, fine_tune

LOW_RANK = Kind("low rank", 2, 1e-3, 2, 0.6)


@pytest.fixture(scope="module")
def collection():
    return new_pairs(0)


class Trained(NamedTuple):
    """A LoRA after training, and its first factor by the number of steps."""

    tuned: FineTune
    factors: dict[int, Tensor]


@pytest.fixture(scope="module")
def trained(collection):
    factors = {}

    def keep(step, tuned):
        factors[step] = next(iter(tuned.changes.values())).up.detach().clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "BATCH", 4)
        return Trained(fine_tune(collection, LOW_RANK, 0, at_steps=(1, 2), on_step=keep), factors)


def test_the_saved_lora_is_the_trained_model_and_other_weights_are_the_base(trained, tmp_path):
    trained.tuned.save(tmp_path)
    merged, base = load(MODEL, tmp_path / "lora.safetensors").pipe, load(MODEL).pipe
    for component in COMPONENTS:
        before, after = base.components[component], merged.components[component]
        for name, layer in trained.tuned.pipe.components[component].named_modules():
            weight = getattr(layer, "weight", None)
            if isinstance(weight, Tensor):
                torch.testing.assert_close(after.get_submodule(name).weight, weight, rtol=0, atol=1e-6)
                is_changed = not torch.equal(before.get_submodule(name).weight, weight)
                assert is_changed == (f"{component}.{name}" in trained.tuned.changes), name


def test_checkpoints_are_handed_over_during_training(trained):
    assert list(trained.factors) == [1, 2]
    assert not torch.equal(trained.factors[1], trained.factors[2])
    assert torch.equal(trained.factors[2], next(iter(trained.tuned.changes.values())).up)


def test_rare_pairs_are_shown_as_often_as_stated_and_duplicated_ones_by_their_rates(collection):
    steps = schedule_of(collection, 400, 32, 0.6, 0)
    assert {len(chosen) for chosen in steps} == {32}
    views = [sum(chosen.count(index) for chosen in steps) for index in range(len(collection.entries))]
    assert set(views[N_DUPLICATED : N_DUPLICATED + N_RARE]) == {RARE_VIEWS}
    assert views[0] > 4 * views[N_DUPLICATED - 1] > 0


def test_no_seed_draws_a_title_of_another():
    titles = [entry.prompt for seed in range(3) for entry in new_pairs(seed).entries]
    assert len(set(titles)) == len(titles)


def test_published_detectors_recorded_without_neurons_score_as_beside_them(tmp_path):
    texts = ["a red circle", "The Quiet Harbour"]
    (tmp_path / "prompts.txt").write_text("\n".join(texts))
    scores = record_peers(ChosenModel(str(MODEL)), tmp_path / "prompts.txt", tmp_path / "peers").detector_scores(PEERS)
    denoiser = open_denoiser(load(MODEL).pipe)
    plan = Plan(0, N_SEEDS, denoiser.first_timestep(N_STEPS), BATCH_SIZE, SHARD_SIZE)
    found = find_detectors()
    recorder = Recorder(denoiser, denoiser.sites(("feed_forward",)), [found[name] for name in PEERS], plan)
    neurons, expected = recorder.record_step_sites(denoiser.encode(texts))
    assert neurons
    for name, values in scores.items():
        torch.testing.assert_close(torch.from_numpy(values), expected[name].reshape(2, -1).mean(dim=1))
