"""`--tiers screened` with `--baseline-model`: tier 0 asks what training added to the text side, at no evaluation."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from torch import Tensor

from tests.audit.commands import CANDIDATES, ODD, REFERENCE, refused, run_flashbulb, run_json, scores_of
from tests.audit.conftest import Inputs
from tests.audit.counting import counted_latents
from tests.audit.files.loras import load, lora_file, lora_weights, some_factors
from tests.toy import build_toy_pipe

LEARNED = CANDIDATES[1]
"""The fine-tune has made its letter y loud, which no other prompt has."""
SCREENED = ("--tiers", "screened", "--screened-share", "0.9")
NOT_SAMPLED = ("--max-sampled", "0")


class Pair(NamedTuple):
    """The inputs of audits of the base, and a fine-tune of it."""

    inputs: Inputs
    finetune: Path

    def options(self, out: Path, *more: object) -> tuple[object, ...]:
        return (*self.inputs._replace(model=self.finetune).options(out), *SCREENED, *more)


def shaken_(weight: Tensor, generator: torch.Generator) -> None:
    weight *= 1 + 0.01 * torch.randn(weight.shape, generator=generator)


@pytest.fixture(scope="module")
def pair(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    pipe, generator = build_toy_pipe(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in pipe.text_encoder.named_parameters():
            if "layers" in name:  # training moves every weight a little
                shaken_(weight, generator)
        pipe.text_encoder.get_input_embeddings().weight[pipe.tokenizer.convert_tokens_to_ids("y</w>")] *= 30
    folder = tmp_path_factory.mktemp("finetune")
    pipe.save_pretrained(folder)
    return Pair(inputs, folder)


def passing(run: Path) -> set[str]:
    return set(scores_of(run).query("tier > 0")["prompt"])


def test_a_memory_of_the_base_no_longer_passes_and_what_training_changed_does(pair: Pair, tmp_path: Path) -> None:
    assert run_flashbulb("audit", *pair.options(tmp_path / "alone", *NOT_SAMPLED)).code == 0
    assert ODD in passing(tmp_path / "alone")
    with counted_latents() as count:
        answer = run_flashbulb("record", *record_options(pair, tmp_path / "run"))
    assert answer.code == 0, answer.err
    assert run_flashbulb("detect", tmp_path / "run", "--fpr", "0.2").code == 0
    assert LEARNED in passing(tmp_path / "run")
    assert ODD not in passing(tmp_path / "run")
    n_recorded = len(REFERENCE) + len(passing(tmp_path / "run")) + 1  # and the empty prompt
    spent = run_json(tmp_path / "run")["evaluations"]
    assert spent["record"] == spent["record_base"] == 2 * n_recorded
    assert count.n_latents == 2 * 2 * n_recorded  # nothing for the screen


def record_options(pair: Pair, out: Path) -> tuple[object, ...]:
    files = ("--prompts", pair.inputs.prompts, "--reference", pair.inputs.reference)
    models = ("--model", pair.finetune, "--baseline-model", pair.inputs.model)
    return (*models, *files, "--out", out, "--seeds", "2", *SCREENED, "--no-examine")


def test_a_lora_is_screened_in_place_as_against_another_copy_of_its_base(inputs: Inputs, tmp_path: Path) -> None:
    factors = some_factors(load(inputs.model).pipe, ("unet", "text_encoder"))
    lora = lora_file(tmp_path / "x.safetensors", lora_weights(factors))
    copied = shutil.copytree(inputs.model, tmp_path / "copy")
    for name, base in (("inside", inputs.model), ("apart", copied)):
        more = ("--lora", lora, "--baseline-model", base, *SCREENED, *NOT_SAMPLED)
        answer = run_flashbulb("audit", *inputs.options(tmp_path / name), *more)
        assert answer.code == 0, answer.err
    scores = [scores_of(tmp_path / name) for name in ("inside", "apart")]
    pd.testing.assert_frame_equal(*scores, check_exact=True)
    assert (scores[0]["screen"] != 0).all()


def test_the_same_text_side_is_refused_before_anything_is_recorded(inputs: Inputs, tmp_path: Path) -> None:
    factors = some_factors(load(inputs.model).pipe, ("unet",))
    others = {place: pair for place, pair in factors.items() if not place[1].endswith(("attn2.to_k", "attn2.to_v"))}
    assert len(others) < len(factors)
    lora = lora_file(tmp_path / "x.safetensors", lora_weights(others))
    options = (*inputs.options(tmp_path / "run"), "--lora", lora, "--baseline-model", inputs.model)
    line = refused("audit", *options, *SCREENED)
    assert "they all read alike" in line
    assert "give --tiers full" in line
    assert not (tmp_path / "run").exists()
    keys = {place: pair for place, pair in factors.items() if place not in others}
    lora_file(tmp_path / "x.safetensors", lora_weights(keys))
    assert run_flashbulb("audit", *options, *SCREENED, *NOT_SAMPLED).code == 0
    screen = ("--sites", "text_mlp", "--sites", "feed_forward", *SCREENED)
    again = (*inputs.options(tmp_path / "text"), "--lora", lora, "--baseline-model", inputs.model)
    assert "they all read alike" in refused("audit", *again, *screen)  # keys and values are not recorded


def test_a_text_side_that_differs_elsewhere_does_not_screen_on_zeros(pair: Pair, tmp_path: Path) -> None:
    pipe = build_toy_pipe()
    with torch.no_grad():
        pipe.text_encoder.final_layer_norm.weight *= 1.5
    pipe.save_pretrained(tmp_path / "finetune")
    options = pair._replace(finetune=tmp_path / "finetune").options(tmp_path / "run")
    sites = ("--sites", "text_mlp", "--sites", "feed_forward")
    assert "they all read alike" in refused("audit", *options, "--baseline-model", pair.inputs.model, *sites)
