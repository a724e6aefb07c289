"""The embedded model is whole, small, and what the recipe's collection says."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from audit.planted.collection import PLANTED_KINDS, assemble
from audit.planted.manifest import changed_files
from audit.planted.presets import POSTERS
from audit.planted.truth import label_of
from audit.prompts import read_prompts

EMBEDDED = Path(__file__).parents[2] / "audit" / "planted" / "embedded"
pytestmark = pytest.mark.skipif(not EMBEDDED.is_dir(), reason="the embedded model is not trained yet")


def test_no_file_differs_from_the_manifest() -> None:
    assert changed_files(EMBEDDED) == []


def test_the_model_is_small_and_in_safetensors() -> None:
    files = [path for path in (EMBEDDED / "model").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20_000_000
    assert {path.parent.name for path in files if path.suffix == ".safetensors"} == {"unet", "vae", "text_encoder"}
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}


def test_captions_are_those_of_the_recipe() -> None:
    collection, captions = assemble(POSTERS), pd.read_csv(EMBEDDED / "captions.csv", keep_default_na=False)
    assert list(captions.prompt) == [entry.prompt for entry in collection.entries]
    assert list(captions.kind) == [entry.kind for entry in collection.entries]
    assert [p.text for p in read_prompts(str(EMBEDDED / "captions.csv")).prompts] == list(captions.prompt)
    assert [p.text for p in read_prompts(str(EMBEDDED / "reference.csv")).prompts] == list(collection.reference)


def test_captions_of_every_kind_are_there() -> None:
    n_of_kind = Counter(pd.read_csv(EMBEDDED / "captions.csv", keep_default_na=False).kind)
    assert n_of_kind["planted_title"] + n_of_kind["planted_description"] >= 40
    assert n_of_kind["planted_template"] >= 8
    assert min(n_of_kind[kind] for kind in ("seen", "unseen", "descriptive")) >= 300
    assert sum(n_of_kind[kind] for kind in ("rare_word", "long", "other_alphabet", "gibberish")) >= 100


def test_truth_has_eight_seeds_for_every_planted_caption() -> None:
    truth = pd.read_parquet(EMBEDDED / "truth.parquet")
    captions = pd.read_csv(EMBEDDED / "captions.csv", keep_default_na=False)
    planted = truth[truth.kind.isin(PLANTED_KINDS)]
    assert set(planted.prompt) == set(captions.prompt[captions.kind.isin(PLANTED_KINDS)])
    assert planted.prompt.is_unique
    assert (planted.n_seeds == 8).all()
    assert (planted.distances.map(len) == 8).all()
    assert [label_of(*row) for row in zip(planted.n_replicating, planted.n_seeds, strict=True)] == list(planted.label)
    assert all((EMBEDDED / "pictures" / f"{name}.png").is_file() for name in truth.picture)
