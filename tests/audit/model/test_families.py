"""The family of a model follows from its denoiser, and a model of no family is refused by name."""

import json
from types import SimpleNamespace

import pytest

from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import audited_families, family_of, find_families, open_denoiser
from flashbulb.audit.model.stable_diffusion import StableDiffusion
from tests.toy import build_toy_xl_pipe


def test_a_toy_pipeline_is_of_the_first_family(toy_pipe):
    assert type(open_denoiser(toy_pipe)) is StableDiffusion
    assert StableDiffusion in find_families()


def test_a_saved_pipeline_is_of_the_family_that_opens_it(toy_pipe, tmp_path):
    toy_pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert family_of(index) is StableDiffusion


@pytest.mark.parametrize("unet", ["UNet2DConditionModel", ["diffusers", "UNet1DModel"], [None, None], None])
def test_an_index_without_a_known_denoiser_is_of_no_family(unet):
    assert family_of({"unet": unet}) is None


def test_a_pipeline_of_no_family_is_refused_by_name():
    with pytest.raises(ModelError, match="SimpleNamespace is of no family that Flashbulb audits: "):
        open_denoiser(SimpleNamespace(unet=None))


def test_a_pipeline_that_its_family_cannot_read_is_refused():
    with pytest.raises(ModelError, match="addition_embed_type 'text_time'"):
        open_denoiser(build_toy_xl_pipe())


def test_every_family_is_complete_and_named_once():
    families = find_families()
    assert audited_families().split(", ") == [family.title for family in families]
    assert len({family.network for family in families}) == len({family.title for family in families}) == len(families)
    for family in families:
        assert not family.__abstractmethods__
        assert family.network[0] in family.required
        assert set(family.tokenizers) & set(family.required)
