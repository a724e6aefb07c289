"""A toy pipeline that a blind search can start from, and a verifier that is told which starts show an image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from flashbulb.audit.discover.search import Search
from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.recover.signs import Signs
from flashbulb.audit.recover.verify import Looked, Verifier, VerifyPlan
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.discover import search_plan, search_verify_plan
from flashbulb.audit.statistics.scores import columns_of
from flashbulb.audit.training_images.nearest import TrainingImages
from tests.toy import MAX_POSITIONS, build_toy_pipe, build_toy_text_encoder, byte_alphabet

WORDS = "star moon house tree boat horse bird lake bridge town".split()
MEMORY = Signs(
    agreement=1.0, spread=-4.6, shift_distance=-1.5, survival=-4.6, denoising_error=-5.0, autoencoding_error=-4.0
)
N_REFERENCE, COST_OF_START = 16, 1 * 3 + (2 * 2 + 6) + 2  # climb, samples and signs, deflation, as `quick` has them

Shown = Mapping[tuple[int, int], int | RgbImage]
"""The image that a start shows, or the grey level of a plain one, by (round, start)."""


def build_worded_tokenizer() -> CLIPTokenizer:
    """Build a toy CLIP tokenizer that reads each of `WORDS` as one token, and other text byte by byte."""
    alphabet = byte_alphabet()
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces[:2] = ["".join(pieces[:2])]
    merges = list(dict.fromkeys(merges))
    pieces = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    vocab = {piece: index for index, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_POSITIONS)


def build_worded_pipe() -> StableDiffusionPipeline:
    """Build the toy pipeline with a tokenizer that knows words."""
    pipe = build_toy_pipe()
    tokenizer = build_worded_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipe.tokenizer, pipe.text_encoder = tokenizer, build_toy_text_encoder(tokenizer).eval()
    return pipe


class ToldVerifier(Verifier):
    """Spends what a verifier spends, and then says what it was told: a toy model memorizes nothing.

    Args:
        interrupted_in: round in which Ctrl-C is pressed.
    """

    def __init__(self, denoiser: Denoiser, plan: VerifyPlan, shown: Shown, interrupted_in: int | None = None) -> None:
        super().__init__(denoiser, plan)
        self._shown = {f"round {number} start {start}": image for (number, start), image in shown.items()}
        self._interrupted_in = interrupted_in

    def look(
        self, conditioning: Conditioning, keys: Sequence[str], is_known: Callable[[RgbImages], bool] | None = None
    ) -> list[Looked]:
        if keys[0].startswith(f"round {self._interrupted_in} "):
            raise KeyboardInterrupt
        looked = super().look(conditioning, keys, is_known)
        return [
            replace(look, signs=MEMORY if key in self._shown and look.signs is not None else None)
            for key, look in zip(keys, looked, strict=True)
        ]

    def sample(self, conditioning: Conditioning, keys: Sequence[str]) -> RgbImages:
        images = super().sample(conditioning, keys)
        for row, key in enumerate(keys):
            if key in self._shown:
                images[row] = self._shown[key]
        return images


def quick(**changes: Any) -> DiscoverSettings:
    """Settings of a search in which a start takes `COST_OF_START` UE and the baseline `N_REFERENCE`."""
    given: dict[str, Any] = {
        "model": "toy",
        "train_images": None,
        "out": Path("out"),
        "examine": False,
        "budget": 1000,
        "n_starts": 2,
        "steps": 1,
        "learning_rate": 0.05,
        "seen_share": 0.5,
        "n_reference": N_REFERENCE,
        "n_components": 2,
        "n_candidates": 0,
        "text_starts": 0,
        "n_samples": 2,
        "sample_steps": 2,
        "patience": 2,
        "closing_looks": False,
    }
    return DiscoverSettings(**{**given, **changes})


def toy_search(
    pipe: StableDiffusionPipeline,
    shown: Shown,
    training: TrainingImages | None = None,
    texts: Sequence[str] = (),
    **changes: Any,
) -> Search:
    """A search of a toy pipeline by `quick` settings."""
    settings, denoiser = quick(**changes), open_denoiser(pipe)
    verifier = ToldVerifier(denoiser, search_verify_plan(settings), shown)
    columns = columns_of("feed_forward", denoiser.sites(["feed_forward"]))
    return Search(denoiser, columns, verifier, training, texts, search_plan(settings))


@contextmanager
def evaluations_of(unet: torch.nn.Module) -> Iterator[list[int]]:
    """Collect UE of every call of a UNet while the context is open: a latent is one, its backward pass two more."""
    spent: list[int] = []

    def keep(_module: torch.nn.Module, _args: tuple[torch.Tensor, ...], output: Any) -> None:
        sample = output[0] if isinstance(output, tuple) else output.sample
        spent.append(len(sample) * (3 if sample.requires_grad else 1))

    with ExitStack() as stack:
        stack.callback(unet.register_forward_hook(keep).remove)
        yield spent
