"""A base with a fine-tune, and their finished comparison."""

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from PIL import Image

from flashbulb.audit.model.sampling import sample_images
from tests.audit.commands import CANDIDATES, run_flashbulb, text_file
from tests.audit.conftest import Inputs
from tests.audit.files.loras import load, lora_file, lora_weights, some_factors

QUICK = ("--samples", "2", "--sample-steps", "2")
HOSTILE = "<script>x</script> {{ 7*7 }}"


class Pair(NamedTuple):
    """A base, a LoRA of it, the same fine-tune with the LoRA fused, prompts, and an image that the fine-tune gives."""

    base: Path
    lora: str
    finetune: Path
    prompts: Path
    training: Path

    def options(self, out: Path, *more: object) -> tuple[object, ...]:
        return ("compare", self.base, self.finetune, "--prompts", self.prompts, "--out", out, *QUICK, *more)


@pytest.fixture(scope="session")
def pair(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    factors = some_factors(load(inputs.model).pipe, ("unet", "text_encoder"))
    lora = f"{lora_file(folder / 'lora.safetensors', lora_weights(factors))}:24"
    pipe = load(inputs.model, lora).pipe
    pipe.save_pretrained(folder / "finetune")
    (folder / "training").mkdir()
    (image,) = sample_images(pipe, [CANDIDATES[2]], [1], run_seed=0, num_inference_steps=2, guidance_scale=3.0)
    Image.fromarray(image).save(folder / "training" / "secret.png")
    prompts = text_file(folder / "prompts.txt", [*CANDIDATES[:3], HOSTILE])
    return Pair(inputs.model, lora, folder / "finetune", prompts, folder / "training")


@pytest.fixture(scope="session")
def done(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison with training images. Read-only."""
    out = tmp_path_factory.mktemp("compared") / "out"
    answer = run_flashbulb(*pair.options(out, "--train-images", pair.training))
    assert answer.code == 0, answer.err
    assert "at 1 of 4 prompts the fine-tune copies a training image and the base does not" in answer.out
    assert f"Read {out}/compare.html" in answer.out
    assert "in its scheduler" not in answer.err
    return out


def rows(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "compare.parquet").to_pylist()
