"""The figures of a localization are complete PNG files, whatever the names of prompts and sites."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from flashbulb.reports.figures.localization import LocalizationRow, layer_map, localization_panel

HOSTILE = "$x_{$ \\frac \n\x1b[31m\u202e жар-птица 猫 " + "long " * 60
SIZES = (1, 4, 20)


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def row(prompt: str = "a red star", is_erased: bool = True) -> LocalizationRow:
    return LocalizationRow(prompt, is_erased, noise(16, 16, 3), noise(4, 16, 16, 3), noise(4, 16, 16, 3))


def opened(path: Path) -> tuple[int, int]:
    """Size of a PNG that is complete and not blank."""
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        assert any(low != high for low, high in image.convert("RGB").getextrema())
        return image.size


@pytest.mark.parametrize("n_rows", SIZES)
def test_a_panel_has_a_row_per_image_up_to_twelve(tmp_path: Path, n_rows: int) -> None:
    localization_panel([row()] * n_rows, tmp_path / "panel.png")
    width, height = opened(tmp_path / "panel.png")
    assert width == pytest.approx((2.6 + 5 * 1.25) * 150, abs=2)
    assert height == pytest.approx((0.5 + min(n_rows, 12) * 1.25) * 150, abs=2)


def test_any_prompt_is_drawn(tmp_path: Path) -> None:
    rows = [row(HOSTILE), row("", is_erased=False), row("$\\frac{1}{$"), row("$$")]
    localization_panel(rows, tmp_path / "panel.png")
    opened(tmp_path / "panel.png")


@pytest.mark.parametrize("n_prompts", SIZES)
@pytest.mark.parametrize("n_sites", [1, 16])
def test_a_map_has_a_row_per_prompt_and_a_column_per_site(tmp_path: Path, n_prompts: int, n_sites: int) -> None:
    shares = np.random.default_rng(0).random((n_prompts, n_sites))
    sites = [f"unet.down_blocks.{i}.attentions.0.transformer_blocks.0.attn2.to_v" for i in range(n_sites)]
    layer_map(shares, [HOSTILE] * n_prompts, sites, tmp_path / "layers.png")
    width, height = opened(tmp_path / "layers.png")
    assert width == pytest.approx((4.6 + 0.34 * n_sites) * 150, abs=2)
    assert height > (1.2 + 0.26 * n_prompts) * 150


def test_a_map_without_response_is_drawn(tmp_path: Path) -> None:
    layer_map(np.zeros((2, 3)), ["a", "b"], ["unet.a", "unet.b", "unet.c"], tmp_path / "layers.png")
    opened(tmp_path / "layers.png")
