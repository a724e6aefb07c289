"""Every format and mode becomes 8-bit RGB as it is stored; damage raises what is caught, and bombs are refused."""

import random
import struct
import subprocess
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageCms

from flashbulb.audit.images.decoding import decode, grey_levels
from flashbulb.audit.images.formats import has_image_suffix, image_suffixes, starts_like_an_image
from flashbulb.reports.figures.image_files import IMAGE_ERRORS
from tests.audit.files.hostile_images import claimed_png
from tests.audit.images.files import difference, encoded, picture


@pytest.mark.parametrize("name", "PNG JPEG WEBP AVIF GIF TIFF BMP PPM JPEG2000 TGA ICO PCX QOI DDS SGI IM".split())
def test_formats_that_pillow_writes_are_read(name):
    data = encoded(picture().resize((64, 64)), name)
    assert difference(decode(data).image, picture().resize((64, 64))) < 12


MODES = "1 L LA P RGBA RGBX CMYK YCbCr LAB I;16 I F".split()


def in_mode(mode: str) -> Image.Image:
    grey = picture().convert("L")
    if mode == "LAB":
        return ImageCms.profileToProfile(
            picture(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    if mode == "I;16":
        return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return (grey if mode in "IF" else picture()).convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode):
    decoded = decode(encoded(in_mode(mode), "PNG" if mode in ("P", "LA") else "TIFF")).image
    assert decoded.mode == "RGB"
    wanted = picture().convert("L").convert("RGB") if mode in ("L", "LA", "I;16", "I", "F") else picture()
    assert difference(decoded, wanted) < {"1": 128, "P": 64}.get(mode, 6)


@pytest.mark.parametrize("top", [255, 4095, 65535])
@pytest.mark.parametrize("kind", ["<u2", ">u2", "i4", "f4"])
def test_grey_of_any_depth_keeps_its_brightness(top, kind):
    levels = np.arange(256, dtype=np.float64).reshape(16, 16)
    scaled = np.rint(levels * top / 255).astype(kind)
    np.testing.assert_allclose(grey_levels(scaled).astype(int), levels, atol=1)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
def test_grey_fractions_are_scaled_from_their_range(low, high):
    levels = np.arange(256, dtype=np.float32).reshape(16, 16)
    np.testing.assert_allclose(grey_levels(low + levels * ((high - low) / 255)), levels, atol=1)


def test_odd_grey_values_are_neither_an_error_nor_white():
    scanner = np.linspace(-1024, 3071, 64, dtype=np.float32).reshape(8, 8)
    assert np.ptp(grey_levels(scanner)) == 255
    broken = np.array([[np.nan, np.inf], [0.5, 1.0]], dtype=np.float32)
    assert grey_levels(broken).tolist() == [[0, 255], [128, 255]]
    assert grey_levels(np.array([[-3e38, 3e38]], dtype=np.float32)).tolist() == [[0, 255]]
    assert grey_levels(np.full((2, 2), np.nan, dtype=np.float32)).max() == 0
    assert grey_levels(np.full((2, 2), -7, dtype=np.int32)).max() == 0


def test_a_radiograph_of_16_bits_is_read_as_its_8_bits():
    grey = picture().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for data in (encoded(deep, "PNG"), encoded(deep, "TIFF"), encoded(deep, "TIFF", compression="tiff_lzw")):
        assert difference(decode(data).image, grey.convert("RGB")) == 0


def test_of_several_frames_the_first_is_read():
    first, second = picture(), picture(1)
    options = {"save_all": True, "append_images": [second]}
    for name in ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"):
        decoded = decode(encoded(first, name, **options))
        assert difference(decoded.image, first) < 12, name
        assert decoded.has_more_frames == (name != "MPO"), "previews inside photographs are not counted"
    assert not decode(encoded(first, "GIF")).has_more_frames


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    for side in (60_000, 10_000):
        with pytest.raises(Image.DecompressionBombError):
            decode(claimed_png(side))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "name", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "AVIF", "BMP", "ICO", "PSD", "SGI", "PCX", "DDS", "TGA"]
)
def test_damage_raises_only_what_is_caught(name, seed):
    if name == "PSD":
        whole = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + bytes(12) + b"\0\0" + bytes(48)
    else:
        whole = encoded(picture().resize((32, 32)), name)
    rng = random.Random(seed)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 3, 9])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        cut = bytes(data[: rng.randrange(1, len(data) + 1)])
        for damaged in (bytes(data), cut):
            with suppress(*IMAGE_ERRORS):
                assert min(decode(damaged).image.size) > 0


def test_no_program_is_run_to_draw_an_image(monkeypatch):
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was run"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was run"))
    with pytest.raises(OSError, match="cannot identify"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def test_images_are_told_by_suffix_in_any_case_and_by_their_start():
    assert {
        ".png",
        ".jpg",
        ".jfif",
        ".jpe",
        ".jp2",
        ".avif",
        ".tif",
        ".tiff",
        ".gif",
        ".ppm",
        ".qoi",
    } <= image_suffixes()
    assert not {".eps", ".ps", ".mpg", ".h5", ".pdf", ".wmf"} & image_suffixes()
    assert [has_image_suffix(name) for name in ("a/b.PNG", "a.b/png", "png", "a.png.txt")] == [
        True,
        False,
        False,
        False,
    ]
    assert all(
        starts_like_an_image(encoded(picture(), name)[:16])
        for name in ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "JPEG2000")
    )
    assert not any(
        map(
            starts_like_an_image,
            (b"", b"a caption of it", b'{"key": 1}', b"PK\3\4" + bytes(12), b"\x1f\x8b" + bytes(14)),
        )
    )
