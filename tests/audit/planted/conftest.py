"""Fixtures of the planted models: full-size collections, which are cheap, and a toy training of each preset."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from flashbulb.audit.planted import denoiser, recipe, truth
from flashbulb.audit.planted.collection import Collection, assemble
from flashbulb.audit.planted.presets import PRESETS, Preset
from tests.audit.planted.toy_presets import toy
from tests.cases import slow_unless_in

Train = Callable[[Preset, Path], Path]
SHAPES = ("posters", "catalogue", "folio", "graded")
"""At toy size, other presets differ from these in shares of captions, channels of latents and vocabulary alone."""
QUICK_SHAPES = ("catalogue", "folio")
"""Both kinds of prediction, and both numbers of text encoders."""
QUICK_PRESETS = ("gazette", "faint", "graded")
"""The smallest preset of each world."""


@pytest.fixture(scope="session", params=slow_unless_in(QUICK_PRESETS, PRESETS))
def preset(request: pytest.FixtureRequest) -> Preset:
    """Each preset in turn, at full size."""
    return PRESETS[request.param]


@pytest.fixture(scope="session")
def collection(preset: Preset) -> Collection:
    """The captions and images with which the preset is trained and tested."""
    return assemble(preset)


@pytest.fixture(scope="session", params=slow_unless_in(QUICK_SHAPES, SHAPES))
def toy_preset(request: pytest.FixtureRequest) -> Preset:
    """Each shape of preset at the length and size for tests, with few seeds of each caption for the truth."""
    return replace(toy(PRESETS[request.param]), truth_seeds=4)


@pytest.fixture(scope="session")
def train() -> Train:
    """Run the recipe on one thread with a checkpoint every second step; restore the state of torch."""
    tokenizers: dict[int, CLIPTokenizer] = {}
    learn = denoiser.build_tokenizer

    def learn_once(corpus: Sequence[str], vocabulary_size: int, max_tokens: int) -> CLIPTokenizer:
        """Learn a tokenizer once: it takes seconds, and another test shows that the result does not vary."""
        if vocabulary_size not in tokenizers:
            tokenizers[vocabulary_size] = learn(corpus, vocabulary_size, max_tokens)
        return tokenizers[vocabulary_size]

    def train(preset: Preset, out: Path) -> Path:
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.random.fork_rng(devices=[]), pytest.MonkeyPatch.context() as patch:
                patch.setattr(denoiser, "build_tokenizer", learn_once)
                patch.setattr(denoiser, "N_TOKENIZER_CAPTIONS", 300)  # inventing thousands takes longer than training
                patch.setattr(recipe, "_CHECKPOINT_EVERY", 2)
                patch.setattr(truth, "NUM_INFERENCE_STEPS", 1)
                return recipe.train_planted(preset, out, torch.device("cpu"))
        finally:
            torch.set_flush_denormal(False)
            torch.set_num_threads(n_threads)

    return train


@pytest.fixture(scope="session")
def trained(toy_preset: Preset, train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a toy training that nothing interrupted; tests leave it as it is."""
    return train(toy_preset, tmp_path_factory.mktemp("planted") / toy_preset.name)
