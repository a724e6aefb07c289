"""Thumbnails are small, carry no metadata, and reveal no detail once blurred."""

from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.reports.page.thumbnails import thumbnail


def decode(uri: str) -> Image.Image:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(BytesIO(b64decode(data)))


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels.astype(np.uint8)).save(path, **options)
    return path


def noise(seed: int, side: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3))


def test_a_small_image_is_lossless(tmp_path: Path) -> None:
    pixels = noise(0)
    uri = thumbnail(save(tmp_path / "x.png", pixels), "shown")
    assert np.array_equal(np.asarray(decode(uri).convert("RGB")), pixels)


@pytest.mark.parametrize("size", [(64, 48), (512, 512), (3000, 200)])
def test_a_thumbnail_keeps_its_aspect_ratio_and_is_at_most_160_pixels_a_side(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    Image.effect_mandelbrot(size, (-2, -1, 1, 1), 20).save(tmp_path / "x.png")
    small = decode(thumbnail(tmp_path / "x.png", "shown"))
    assert max(small.size) <= 160
    assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.1)
    assert len(thumbnail(tmp_path / "x.png", "shown")) < 40_000


@pytest.mark.parametrize("mode", ["shown", "blurred"])
def test_metadata_is_removed(tmp_path: Path, mode: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Ann Secret, ward 7"
    path = save(tmp_path / "x.jpg", noise(1, 300), exif=exif, comment=b"Ann Secret")
    uri = thumbnail(path, mode)
    assert b"Secret" not in b64decode(uri.partition(",")[2])
    assert not decode(uri).getexif()


def test_images_with_equal_coarse_averages_are_blurred_to_the_same_bytes(tmp_path: Path) -> None:
    """Therefore no detail finer than a sixth of the image remains."""
    first = noise(2)
    second = first.reshape(6, 10, 6, 10, 3)[:, ::-1, :, ::-1].reshape(60, 60, 3)
    assert not np.array_equal(first, second)
    uris = [thumbnail(save(tmp_path / f"{n}.png", pixels), "blurred") for n, pixels in enumerate((first, second))]
    assert uris[0] == uris[1]


def test_an_image_that_cannot_be_shown_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "truncated.png").write_bytes(save(tmp_path / "x.png", noise(3)).read_bytes()[:100])
    (tmp_path / "text.png").write_text("no image")
    assert thumbnail(tmp_path / "truncated.png", "shown") is None
    assert thumbnail(tmp_path / "text.png", "shown") is None
    assert thumbnail(tmp_path / "missing.png", "shown") is None
    assert thumbnail(tmp_path / "x.png", "none") is None


def test_the_fixed_part_is_kept_and_the_rest_is_faded(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.full((60, 60, 3), (200, 30, 30)))
    mask = np.zeros((60, 60))
    mask[:30] = 255
    shown = np.asarray(decode(thumbnail(path, "shown", save(tmp_path / "m.png", mask))).convert("RGB"), dtype=int)
    assert (shown[5] == (200, 30, 30)).all()
    assert (shown[-5] > 200).all()
    assert np.ptp(shown[-5], axis=1).max() < 5
