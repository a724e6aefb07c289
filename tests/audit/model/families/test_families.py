"""The family of a model follows from its denoiser, and a model of no family is refused by name."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import audited_families, family_of, find_families, open_denoiser
from flashbulb.audit.model.families.stable_diffusion import StableDiffusion
from flashbulb.audit.model.families.stable_diffusion_xl import StableDiffusionXL
from tests.toy import build_toy_pipe, build_toy_xl_pipe


def test_text_encoders_tell_families_with_one_denoiser_apart(toy_pipe):
    assert type(open_denoiser(toy_pipe)) is StableDiffusion
    assert type(open_denoiser(build_toy_xl_pipe())) is StableDiffusionXL


@pytest.mark.parametrize(
    ("build", "family"), [(build_toy_pipe, StableDiffusion), (build_toy_xl_pipe, StableDiffusionXL)]
)
def test_a_saved_pipeline_is_of_the_family_that_opens_it(build: Any, family: Any, tmp_path: Path):
    build().save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert family_of(index) is family
    assert family_of({**index, "text_encoder_9": ["transformers", "CLIPTextModel"]}) is None


@pytest.mark.parametrize("unet", ["UNet2DConditionModel", ["diffusers", "UNet1DModel"], [None, None], None])
def test_an_index_without_a_known_denoiser_is_of_no_family(unet):
    assert family_of({"unet": unet}) is None


def test_a_pipeline_of_no_family_is_refused_by_name():
    with pytest.raises(ModelError, match="SimpleNamespace is of no family that Flashbulb audits: "):
        open_denoiser(SimpleNamespace(unet=None))


def test_every_family_is_complete_and_named_once():
    families = find_families()
    assert audited_families().split(", ") == [family.title for family in families]
    inputs = {(family.network, tuple(family.tokenizers)) for family in families}
    assert len(inputs) == len({family.title for family in families}) == len(families)
    for family in families:
        assert not family.__abstractmethods__
        assert family.network[0] in family.required
        assert set(family.tokenizers) & set(family.required)
