"""The planted models that ship are complete, small, and trained on the collections of the recipe."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from flashbulb.audit.planted.collection import PLANTED_KINDS, assemble
from flashbulb.audit.planted.presets import CATALOGUE, FAINT, FOLIO, GAZETTE, POSTERS, Preset
from flashbulb.audit.planted.truth import label_of
from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.planted.manifests import changed_files
from tests.bench.models import MODELS

PRESET_OF = {"embedded": POSTERS, "catalogue": CATALOGUE, "gazette": GAZETTE, "faint": FAINT, "folio": FOLIO}
MAX_BYTES = {"embedded": 16e6, "catalogue": 13e6, "gazette": 7e6, "faint": 5e6, "folio": 8e6}


class Shipped(NamedTuple):
    """Name, folder and preset of a planted model."""

    name: str
    folder: Path
    preset: Preset


@pytest.fixture(params=MODELS)
def shipped(request: pytest.FixtureRequest) -> Shipped:
    return Shipped(request.param, MODELS[request.param], PRESET_OF[request.param])


def weights(folder: Path) -> list[Path]:
    return list((folder / "model").rglob("*.safetensors"))


def test_no_file_differs_from_the_manifest(shipped: Shipped) -> None:
    assert changed_files(shipped.folder) == []


def test_the_model_is_small_and_in_safetensors(shipped: Shipped) -> None:
    files = [path for path in (shipped.folder / "model").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in weights(shipped.folder)) <= MAX_BYTES[shipped.name]
    encoders = {"text_encoder", "text_encoder_2"} if shipped.preset.n_text_encoders == 2 else {"text_encoder"}
    assert {path.parent.name for path in weights(shipped.folder)} == {"unet", "vae", *encoders}
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}


def test_all_weights_together_are_below_48_megabytes() -> None:
    assert sum(path.stat().st_size for folder in MODELS.values() for path in weights(folder)) <= 48_000_000


def test_the_captions_are_those_of_the_recipe(shipped: Shipped) -> None:
    collection = assemble(shipped.preset)
    captions = pd.read_csv(shipped.folder / "captions.csv", keep_default_na=False)
    assert list(captions.prompt) == [entry.prompt for entry in collection.entries]
    assert list(captions.kind) == [entry.kind for entry in collection.entries]
    assert [p.text for p in read_prompts(str(shipped.folder / "captions.csv")).prompts] == list(captions.prompt)
    reference = read_prompts(str(shipped.folder / "reference.csv")).prompts
    assert [p.text for p in reference] == list(collection.reference)


def test_there_are_captions_of_every_kind(shipped: Shipped) -> None:
    counts = Counter(pd.read_csv(shipped.folder / "captions.csv", keep_default_na=False).kind)
    assert counts["planted_title"] + counts["planted_description"] >= 40
    assert counts["planted_template"] >= 8
    assert min(counts[kind] for kind in ("seen", "unseen", "descriptive")) >= 300
    assert sum(counts[kind] for kind in ("rare_word", "long", "other_alphabet", "gibberish")) >= 100


def test_truth_has_eight_seeds_for_every_planted_caption(shipped: Shipped) -> None:
    truth = pd.read_parquet(shipped.folder / "truth.parquet")
    captions = pd.read_csv(shipped.folder / "captions.csv", keep_default_na=False)
    planted = truth[truth.kind.isin(PLANTED_KINDS)]
    assert set(planted.prompt) == set(captions.prompt[captions.kind.isin(PLANTED_KINDS)])
    assert planted.prompt.is_unique
    assert (planted.n_seeds == 8).all()
    assert (planted.distances.map(len) == 8).all()
    assert [label_of(*row) for row in zip(planted.n_replicating, planted.n_seeds, strict=True)] == list(planted.label)
    assert all((shipped.folder / "pictures" / f"{name}.png").is_file() for name in truth.picture)


def test_few_pairs_are_memorized_if_little_is_planted() -> None:
    n_memorized = {
        name: int((pd.read_parquet(folder / "truth.parquet").label == "memorized").sum())
        for name, folder in MODELS.items()
    }
    assert 10 <= n_memorized["faint"] <= 20
    assert min(n_memorized[name] for name in MODELS if name != "faint") >= 40
