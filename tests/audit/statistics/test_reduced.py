"""What a shard of the bulk layout keeps gives the scores, flags and neurons of the dense layout."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from flashbulb.audit.detectors import NeuronDetector
from flashbulb.audit.detectors.nemo import fit_nemo, score_nemo
from flashbulb.audit.record.recorder import Recorded
from flashbulb.audit.record.reduction import BASELINES_FILE
from flashbulb.audit.record.shards import Shards, find_damage
from flashbulb.audit.statistics import bulk as fitting
from flashbulb.audit.statistics import reduced
from flashbulb.audit.statistics import scores as scoring
from flashbulb.audit.statistics.bulk import BulkError, fit_bulk, holds_bulk, open_bulk, save_bulk
from flashbulb.audit.statistics.detection import RecordedSet, detect
from flashbulb.audit.statistics.reduced import BulkReduction, read_kept
from flashbulb.audit.statistics.spikes import Kept, read_neurons
from flashbulb.hooks import DamagedFile, read_activations, write_shard
from tests.audit.neuron_sets import (
    FIRST,
    MODES,
    N_CANDIDATES,
    N_COMPONENTS,
    SECOND,
    SITES,
    SPIKED,
    noise,
    sets_of,
    spiked,
    write_set,
)
from tests.tolerances import ARITHMETIC

KEPT = Kept(n_spikes=7, climbed_kind="feed_forward", n_climbed=5)
NEURONS = NeuronDetector("some", "", "feed_forward", "abs_max", 0, fit_nemo, score_nemo)
SHARD_SIZE, HELD, N_SEEDS = 16, 40, 2
FPR = 0.05


def texts(n: int, word: str) -> list[str]:
    return [f"{word} number {i}" for i in range(n)]


def reduce_set(dense, bulk, reduction, n_shards: int, n_dense: int) -> Shards:
    """Write a set again, reduced but for the first shards."""
    for index in range(n_shards):
        halves = []
        for half in ("prompt", "step"):
            activations, keys = read_activations([dense / half / f"part-{index:05d}.parquet"])
            tensors = {name: torch.from_numpy(rows) for name, rows in activations.items()}
            halves.append((keys.to_pydict(), tensors))
        (prompt_keys, at_prompt), (step_keys, at_step) = halves
        entries = {"fingerprint": "abc"}
        if index >= n_dense:
            prompt_keys |= reduction.reduce(at_prompt, at_step, index * SHARD_SIZE)
            at_prompt, at_step, entries = {}, {}, {**entries, **reduction.entries}
        write_shard(bulk / "prompt", index, prompt_keys, at_prompt, entries)
        write_shard(bulk / "step", index, step_keys, at_step, entries)
    return Shards(bulk, n_shards, N_SEEDS)


@pytest.fixture(scope="module", autouse=True)
def few_held():
    """Hold few candidates, and know one detector."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (scoring, fitting):
            patch.setattr(module, "MAX_SELF_REFERENCE", HELD)
        patch.setattr(reduced, "find_detectors", lambda: {"some": NEURONS})
        yield


@pytest.fixture
def both(tmp_path):
    """Return what records candidates in both layouts: their shards, the reference's and the baselines."""
    return recorder_into(tmp_path)


@pytest.fixture(scope="module", params=MODES)
def alike(request, tmp_path_factory):
    """A mode, and what `both` records of it, with the detection from the dense layout. Read-only."""
    dense, bulk, clean, fit = recorder_into(tmp_path_factory.mktemp("alike"))(request.param)
    pooled = MODES[request.param][2]
    return pooled, bulk, clean, fit, dense, detected(dense, clean, None, pooled=pooled)


def recorder_into(folder):
    """Return a function that records the candidates of a mode in both layouts."""

    def record(mode: str):
        candidates, reference, pooled = sets_of(mode, spiked(noise(N_CANDIDATES, 0), [SPIKED, 77]))
        by_seed = np.stack([candidates, candidates + 0.03125], axis=1)
        dense = write_set(folder / "dense", by_seed, shard_size=SHARD_SIZE)
        clean = None if reference is None else write_set(folder / "reference", reference, n_seeds=N_SEEDS)
        n_shards, n_dense = -(-N_CANDIDATES // SHARD_SIZE), -(-HELD // SHARD_SIZE) if pooled else 0
        first = Shards(folder / "dense", n_dense, N_SEEDS) if pooled else None
        fit = fit_bulk(SITES, [NEURONS], clean, first, n_seeds=N_SEEDS, n_components=N_COMPONENTS, kept=KEPT)
        (folder / "bulk").mkdir()
        save_bulk(folder / "bulk" / BASELINES_FILE, fit, "abc")
        reduction = BulkReduction.by(folder / "bulk" / BASELINES_FILE)
        bulk = reduce_set(folder / "dense", folder / "bulk", reduction, n_shards, n_dense)
        return dense, bulk, clean, open_bulk(folder / "bulk" / BASELINES_FILE)

    return record


def detected(shards, clean, bulk, *, pooled):
    reference = None if clean is None else RecordedSet(texts(80, "clean"), clean)
    shift = 0.5 if pooled else 1.0
    how = {"n_components": N_COMPONENTS, "fpr": FPR, "max_style_shift": shift, "seed": 0}
    candidates = RecordedSet(texts(N_CANDIDATES, "candidate"), shards)
    return detect(SITES, [NEURONS], candidates, reference, **how, all_texts=candidates.texts, base=None, bulk=bulk)


def test_scores_p_values_and_flags_equal_those_of_the_dense_layout(alike):
    pooled, bulk, clean, fit, _, expected = alike
    found = detected(bulk, clean, fit, pooled=pooled)
    assert found.pooled == expected.pooled == pooled
    assert found.scored.flagged[SPIKED]
    for name in ("spike_score", "p_value", "q_value", "flagged", "reference_score", "reference_p_value"):
        np.testing.assert_array_equal(getattr(found.scored, name), getattr(expected.scored, name), err_msg=name)
    assert (
        found.scored.detectors.keys()
        == expected.scored.detectors.keys()
        == {*("spikes_text_mlp", "spikes_feed_forward", "some")}
    )
    for name, values in expected.scored.detectors.items():
        np.testing.assert_array_equal(found.scored.detectors[name], values, err_msg=name)


def test_the_neurons_behind_a_prompt_are_those_of_the_dense_layout(alike):
    _, bulk, _, _, dense, expected = alike
    groups = expected.scored.groups
    positions = [SPIKED, 0, 77, N_CANDIDATES - 1, 50]
    expected = read_neurons(groups, dense, positions, KEPT)
    found = read_neurons(groups, bulk, positions, KEPT) | read_kept(groups, bulk, positions, KEPT)
    assert found.keys() == expected.keys()
    for position, neurons in expected.items():
        for listed in ("spikes", "climbed"):
            ours, theirs = getattr(found[position], listed), getattr(neurons, listed)
            assert [(s.column, s.neuron, s.activation) for s in ours] == [
                (s.column, s.neuron, s.activation) for s in theirs
            ]
            assert [s.z for s in ours] == pytest.approx([s.z for s in theirs], rel=1e-5)
            assert [s.share for s in ours] == pytest.approx([s.share for s in theirs], rel=1e-5)
        assert [p.site for p in found[position].profiles] == [p.site for p in neurons.profiles]
        assert [p.rms_z for p in found[position].profiles] == pytest.approx(
            [p.rms_z for p in neurons.profiles], rel=1e-5
        )
        assert [p.spike_share for p in found[position].profiles] == [p.spike_share for p in neurons.profiles]


def test_fewer_neurons_than_are_kept_are_the_first_of_them(both):
    _, bulk, clean, fit = both("reference")
    groups = detected(bulk, clean, fit, pooled=False).scored.groups
    few = KEPT._replace(n_spikes=2, n_climbed=1)
    all_of, found = (read_kept(groups, bulk, [SPIKED], kept)[SPIKED] for kept in (KEPT, few))
    assert (found.spikes, found.climbed) == (all_of.spikes[:2], all_of.climbed[:1])


@pytest.mark.parametrize("asked", [{"n_spikes": 8}, {"n_climbed": 6}, {"climbed_kind": "cross_out"}])
def test_more_or_other_neurons_than_are_kept_are_refused(both, asked):
    *_, fit = both("reference")
    fit.refuse_more(KEPT)
    with pytest.raises(BulkError, match=r"7 neurons a prompt and 5 of feed_forward.*--layout dense"):
        fit.refuse_more(KEPT._replace(**asked))


def test_baselines_that_candidates_did_not_help_to_fit_do_not_score_where_they_should(both):
    _, bulk, clean, fit = both("reference")
    with pytest.raises(BulkError, match=r"fitted without candidates.*fitted with them"):
        detected(bulk, clean, fit, pooled=True)


def test_a_reduced_prompt_takes_few_bytes_and_holds_no_activations(both, tmp_path):
    _, bulk, *_ = both("reference")
    assert not list(bulk.rows(scoring.columns_of("feed_forward", SITES), range(N_CANDIDATES)))
    for half in ("prompt", "step"):
        schema = pq.read_schema(tmp_path / "bulk" / half / "part-00000.parquet")
        assert not [name for name in schema.names if name.startswith((FIRST.name, SECOND.name))]


def test_shards_reduced_by_other_baselines_than_lie_beside_them_are_damage(both, tmp_path):
    both("reference")
    recorded, path = Recorded(tmp_path / "bulk", 7, 0, 0), tmp_path / "bulk" / BASELINES_FILE
    assert find_damage(recorded, "abc", N_CANDIDATES) is None
    save_bulk(path, open_bulk(path), "another")
    assert "not what prompt shards were reduced by" in str(find_damage(recorded, "abc", N_CANDIDATES))
    path.unlink()
    assert "is missing" in str(find_damage(recorded, "abc", N_CANDIDATES))


def test_a_changed_file_of_baselines_reduces_nothing(both, tmp_path):
    both("reference")
    path = tmp_path / "bulk" / BASELINES_FILE
    reduction = BulkReduction(path, "0" * 64)
    with pytest.raises(DamagedFile, match="missing or damaged"):
        reduction.reduce({}, {}, 0)


def test_a_file_of_other_or_damaged_baselines_is_not_used(both, tmp_path):
    both("reference")
    path = tmp_path / "bulk" / BASELINES_FILE
    whole = path.read_bytes()
    assert holds_bulk(path, "abc")
    assert not holds_bulk(path, "another")
    for content in (b"", b"junk", whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(content)
        assert not holds_bulk(path, "abc")
    path.unlink()
    assert not holds_bulk(path, "abc")


def test_absent_token_classes_and_equal_neurons_are_kept_as_in_the_dense_layout(both):
    *_, fit = both("reference")
    group = fit.groups[0]
    rows = np.full((3, group.columns.n_neurons), np.nan, dtype=np.float32)
    matrices = {g.kind: rows if g is group else np.full((3, g.columns.n_neurons), 4, np.float32) for g in fit.groups}
    columns = reduced.reduce_shard(fit, lambda c: matrices[c.ordered[0].site.kind], 0)
    np.testing.assert_array_equal(columns["spikes_text_mlp"], np.zeros(3))
    assert np.isfinite(np.array(columns["top/activation"].to_pylist())).all()
    assert np.allclose(columns["top/z"].to_pylist()[0], columns["top/z"].to_pylist()[2], rtol=ARITHMETIC)
