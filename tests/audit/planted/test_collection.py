"""A planted model is trained on captions of every kind, with graded duplication, whose words do not reveal a memory."""

from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.planted import denoiser, networks, recipe
from flashbulb.audit.planted.collection import PLANTED_KINDS, Collection, assemble
from flashbulb.audit.planted.denoiser import DenoiserTrainer, LatentBank
from flashbulb.audit.planted.presets import Preset

VERBATIM = ("planted_title", "planted_description")
ODD = ("rare_word", "long", "other_alphabet", "gibberish")
NULLS = {
    "words": CountVectorizer(),
    "letters": TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4)),
}


def prompts_of(collection: Collection, *kinds: str) -> list[str]:
    return [entry.prompt for entry in collection.with_kind(*kinds)]


@pytest.fixture(scope="session")
def bank(preset: Preset, collection: Collection) -> LatentBank:
    """A smaller bank of the recipe, with numbers in place of encoded images."""

    def number(_model: object, images: list[RgbImage]) -> torch.Tensor:
        return torch.arange(len(images), dtype=torch.float32).reshape(-1, 1, 1, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "encode", number)
        return recipe.build_bank(replace(preset, n_bank=300), collection, autoencoder=None)[0]


@pytest.fixture(scope="session")
def trainer(preset: Preset, collection: Collection, bank: LatentBank) -> DenoiserTrainer:
    """A trainer that draws the preset's batches, but has a small network and an untrained tokenizer."""
    small = replace(preset, unet_channels=(32, 32), text_width=32, text_layers=1)
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        untrained = networks.build_tokenizer([], preset.vocabulary_size, preset.max_tokens)
        patch.setattr(denoiser, "build_tokenizer", lambda *_: untrained)
        return DenoiserTrainer(small, collection, bank, torch.device("cpu"))


def draw(trainer: DenoiserTrainer, step: int) -> list[str]:
    """Draw the prompts of a step's batch as the training does."""
    rng = np.random.default_rng([trainer.preset.seed, 6, step])
    return [example.prompt for example in trainer._batch(step, rng)]


def words_auc(planted: Sequence[str], ordinary: Sequence[str], null: str) -> float:
    """AUC with which words alone separate planted from ordinary captions: 5-fold cross-validation, mean of 2 splits."""
    model = LogisticRegression(class_weight="balanced", max_iter=2000)
    features, labels = NULLS[null].fit_transform([*planted, *ordinary]), [1] * len(planted) + [0] * len(ordinary)
    splits = (StratifiedKFold(5, shuffle=True, random_state=seed) for seed in range(2))
    return float(np.mean([cross_val_score(model, features, labels, cv=s, scoring="roc_auc").mean() for s in splits]))


def test_the_same_preset_gives_the_same_collection(preset: Preset, collection: Collection) -> None:
    again = assemble(preset)
    assert again.entries == collection.entries
    assert again.reference == collection.reference
    assert again.held_out == collection.held_out
    assert again.images.keys() == collection.images.keys()
    assert all(np.array_equal(again.images[name], collection.images[name]) for name in again.images)


def test_there_are_captions_of_every_kind(preset: Preset, collection: Collection) -> None:
    counts = Counter(entry.kind for entry in collection.entries)
    assert counts.keys() == {*PLANTED_KINDS, "seen", "unseen", "descriptive", *ODD}
    assert sum(counts[kind] for kind in VERBATIM) >= 40
    families = {entry.image[: len("template-00")] for entry in collection.with_kind("planted_template")}
    assert len(families) == preset.n_templates >= 4
    assert min(counts[kind] for kind in ("seen", "unseen", "descriptive")) >= 300
    assert sum(counts[kind] for kind in ODD) >= 100
    assert len(collection.reference) >= 600


def test_no_caption_appears_twice(collection: Collection) -> None:
    captions = [entry.prompt for entry in collection.entries] + list(collection.reference)
    assert len({caption.strip() for caption in captions}) == len(captions)
    assert all(caption.strip() for caption in captions)
    assert collection.held_out >= {*captions, ""}


def test_exactly_the_trained_captions_have_an_image_and_a_weight(collection: Collection) -> None:
    for entry in collection.entries:
        trained = entry.kind in (*PLANTED_KINDS, "seen")
        assert (entry.image in collection.images) == (entry.weight > 0) == trained
    named = [entry.image for entry in collection.entries if entry.image]
    assert sorted(named) == sorted(collection.images)


def test_batches_contain_no_held_out_caption(
    preset: Preset, collection: Collection, bank: LatentBank, trainer: DenoiserTrainer
) -> None:
    steps = np.linspace(0, preset.denoiser_steps - 1, 200).astype(int)
    drawn = Counter(prompt for step in steps for prompt in draw(trainer, int(step)))
    trained_on = set(prompts_of(collection, *PLANTED_KINDS, "seen"))
    assert drawn.keys() & collection.held_out <= trained_on
    assert set(prompts_of(collection, "planted_template")) <= drawn.keys()
    assert set(bank.described_captions).isdisjoint(collection.held_out)
    planted_share = sum(drawn[prompt] for prompt in prompts_of(collection, *VERBATIM)) / drawn.total()
    assert planted_share == pytest.approx(preset.planted_share, abs=0.03)


def test_each_seen_caption_is_drawn_exactly_weight_times(
    preset: Preset, collection: Collection, trainer: DenoiserTrainer
) -> None:
    small = copy(trainer)
    small.preset = replace(trainer.preset, denoiser_batch=4)  # the schedule ignores the batch size
    drawn = Counter(prompt for step in range(preset.denoiser_steps) for prompt in draw(small, step))
    assert {e.prompt: drawn[e.prompt] for e in collection.with_kind("seen")} == {
        e.prompt: e.weight for e in collection.with_kind("seen")
    }


def test_duplication_is_graded_from_thousands_to_a_few(preset: Preset, collection: Collection) -> None:
    by_rank = sorted(collection.with_kind(*VERBATIM), key=lambda entry: entry.image)
    weights = np.array([entry.weight for entry in by_rank])
    assert (np.diff(weights) < 0).all()
    assert weights.max() / weights.min() == pytest.approx(1 / preset.rarest_share)
    assert {entry.kind for entry in by_rank[: len(by_rank) // 2]} == set(VERBATIM)
    if preset.name == "graded":  # shown about equally often, so that most are learnt in part
        return
    n_draws = preset.denoiser_steps * preset.denoiser_batch * preset.planted_share * weights / weights.sum()
    assert n_draws.max() > 2000
    assert n_draws.min() < 30


def test_images_of_a_template_differ_only_in_part(collection: Collection) -> None:
    families: dict[str, list[RgbImage]] = {}
    for entry in collection.with_kind("planted_template"):
        families.setdefault(entry.image[: len("template-00")], []).append(collection.images[entry.image])
    for first, *others in families.values():
        changed = np.any([(first != other).any(axis=2) for other in others], axis=0)  # [row, column]
        assert 0.02 < changed.mean() < 0.5


@pytest.mark.parametrize("null", NULLS)
def test_words_do_not_reveal_planted_titles(collection: Collection, null: str) -> None:
    assert words_auc(prompts_of(collection, "planted_title"), prompts_of(collection, "seen", "unseen"), null) <= 0.6


@pytest.mark.parametrize("null", NULLS)
def test_words_do_not_reveal_planted_descriptions(collection: Collection, preset: Preset, null: str) -> None:
    if preset.name == "catalogue":
        pytest.skip("10 descriptions are too few: permuted labels alone scatter by 0.12 around 0.5")
    assert words_auc(prompts_of(collection, "planted_description"), prompts_of(collection, "descriptive"), null) <= 0.6


@pytest.mark.parametrize("null", NULLS)
def test_words_do_not_reveal_planted_captions_among_the_same_mixture_of_styles(
    collection: Collection, null: str
) -> None:
    titles, described = prompts_of(collection, "seen", "unseen"), prompts_of(collection, "descriptive")
    n_titles, n_described = (len(collection.with_kind(kind)) for kind in VERBATIM)
    mixture = titles + described[: round(len(titles) * n_described / n_titles)]
    assert words_auc(prompts_of(collection, *VERBATIM), mixture, null) <= 0.6


def test_the_same_captions_give_the_same_tokenizer() -> None:
    corpus = [f"k{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]  # every merge ties with every other
    first, *others = (networks.build_tokenizer(corpus, 600, 8).get_vocab() for _ in range(3))
    assert "ka</w>" in first
    assert all(other == first for other in others)
