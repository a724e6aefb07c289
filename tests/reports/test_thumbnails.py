"""Pictures in the page are small, say nothing but what they show, and cannot be sharpened back once blurred."""

from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports.thumbnails import thumbnail


def opened(uri: str) -> Image.Image:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(BytesIO(b64decode(data)))


def saved(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels.astype(np.uint8)).save(path, **options)
    return path


def noise(seed: int, side: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3))


def test_a_small_picture_is_shown_to_the_pixel(tmp_path: Path) -> None:
    pixels = noise(0)
    uri = thumbnail(saved(tmp_path / "x.png", pixels), "shown")
    assert np.array_equal(np.asarray(opened(uri).convert("RGB")), pixels)


@pytest.mark.parametrize("size", [(64, 48), (512, 512), (3000, 200)])
def test_a_thumbnail_keeps_the_shape_and_a_side_of_at_most_160(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.effect_mandelbrot(size, (-2, -1, 1, 1), 20).save(tmp_path / "x.png")
    small = opened(thumbnail(tmp_path / "x.png", "shown"))
    assert max(small.size) <= 160
    assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.1)
    assert len(thumbnail(tmp_path / "x.png", "shown")) < 40_000


@pytest.mark.parametrize("images", ["shown", "blurred"])
def test_metadata_stays_behind(tmp_path: Path, images: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Ann Secret, ward 7"
    path = saved(tmp_path / "x.jpg", noise(1, 300), exif=exif, comment=b"Ann Secret")
    uri = thumbnail(path, images)
    assert b"Secret" not in b64decode(uri.partition(",")[2])
    assert not opened(uri).getexif()


def test_two_pictures_of_equal_coarse_averages_are_blurred_alike(tmp_path: Path) -> None:
    """So nothing finer than a sixth of the picture is left in it."""
    first = noise(2)
    second = first.reshape(6, 10, 6, 10, 3)[:, ::-1, :, ::-1].reshape(60, 60, 3)
    assert not np.array_equal(first, second)
    uris = [thumbnail(saved(tmp_path / f"{n}.png", pixels), "blurred") for n, pixels in enumerate((first, second))]
    assert uris[0] == uris[1]


def test_what_cannot_be_shown_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(saved(tmp_path / "x.png", noise(3)).read_bytes()[:100])
    (tmp_path / "text.png").write_text("no picture")
    assert thumbnail(tmp_path / "torn.png", "shown") is None
    assert thumbnail(tmp_path / "text.png", "shown") is None
    assert thumbnail(tmp_path / "gone.png", "shown") is None
    assert thumbnail(tmp_path / "x.png", "none") is None


def test_a_fixed_part_is_kept_and_the_rest_faded(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", np.full((60, 60, 3), (200, 30, 30)))
    mask = np.zeros((60, 60))
    mask[:30] = 255
    shown = np.asarray(opened(thumbnail(path, "shown", saved(tmp_path / "m.png", mask))).convert("RGB"), dtype=int)
    assert (shown[5] == (200, 30, 30)).all()
    assert (shown[-5] > 200).all()
    assert np.ptp(shown[-5], axis=1).max() < 5
