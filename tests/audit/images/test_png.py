"""A PNG file returns the pixels and metadata that were written, and an unreadable file is an OSError."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from flashbulb.audit.images.png import read_image, save_image
from flashbulb.reports.tables.files import METADATA_KEY

METADATA = {"prompt": "жар [red] \x1b", "image_index": 3, "guidance_scale": 7.5, "ablated": None}


def random_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_pixels_and_metadata_come_back_exactly(tmp_path: Path) -> None:
    pixels = random_pixels(8, 12, 3)
    save_image(tmp_path / "new" / "image.png", pixels, METADATA)
    stored = read_image(tmp_path / "new" / "image.png")
    np.testing.assert_array_equal(stored.pixels, pixels)
    assert stored.metadata == METADATA


def test_the_metadata_are_json_under_one_key(tmp_path: Path) -> None:
    save_image(tmp_path / "image.png", random_pixels(8, 12, 3), METADATA)
    with Image.open(tmp_path / "image.png") as image:
        assert json.loads(image.text[METADATA_KEY]) == METADATA


@pytest.mark.parametrize("shape", [(8, 12, 3), (8, 12)])
def test_other_pixels_under_the_same_metadata_are_damage(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path, pixels = tmp_path / "image.png", random_pixels(*shape)
    save_image(path, pixels, METADATA)
    assert read_image(path).metadata == METADATA
    with Image.open(path) as image:
        texts = PngInfo()
        for key, text in image.text.items():
            texts.add_itxt(key, text)
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path, pnginfo=texts)
    with pytest.raises(OSError, match="not what was written"):
        read_image(path)


def test_without_metadata_the_file_has_no_text(tmp_path: Path) -> None:
    save_image(tmp_path / "mask.png", random_pixels(8, 12), {})
    with Image.open(tmp_path / "mask.png") as image:
        assert not image.text
        assert image.mode == "L"
    assert read_image(tmp_path / "mask.png").metadata == {}


def test_a_file_is_written_again_only_if_its_content_changes(tmp_path: Path) -> None:
    path, pixels = tmp_path / "image.png", random_pixels(8, 12, 3)
    save_image(path, pixels, METADATA)
    inode = path.stat().st_ino
    save_image(path, pixels, METADATA)
    assert path.stat().st_ino == inode
    save_image(path, pixels, {**METADATA, "image_index": 4})
    assert read_image(path).metadata["image_index"] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["image.png"]


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0"])
def test_a_file_that_is_no_image_is_an_os_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(OSError, match=r"."):
        read_image(tmp_path / "image.png")


def test_a_missing_file_and_damaged_metadata_are_os_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "image.png")
    save_image(tmp_path / "image.png", random_pixels(8, 12, 3), METADATA)
    data = (tmp_path / "image.png").read_bytes()
    (tmp_path / "image.png").write_bytes(data.replace(b"iTXt", b"iTXx"))
    with pytest.raises(OSError, match=r"image\.png"):
        read_image(tmp_path / "image.png")
