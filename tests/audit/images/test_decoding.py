"""Every format and mode becomes 8-bit RGB as it is stored; malformed metadata do not cost the pixels."""

import io
import random
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.images.decoding import decode, grey_levels
from flashbulb.audit.images.formats import has_image_suffix, image_suffixes, starts_like_an_image
from flashbulb.audit.images.orientation import exif_orientation, turn
from flashbulb.audit.images.png import IMAGE_ERRORS

WIDTH, HEIGHT = 48, 32


def picture(seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def difference(image: Image.Image, other: Image.Image) -> float:
    assert image.size == other.size
    return float(np.abs(np.asarray(image, dtype=int) - np.asarray(other, dtype=int)).mean())


def entry(tag: int, kind: int, n: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, n) + value.ljust(4, b"\0")


def exif(*entries: bytes) -> bytes:
    """EXIF data with one directory of these entries, and the value 3/7 behind it at offset 8 + 2 + 12 n + 4."""
    return (
        b"Exif\0\0II*\0\x08\0\0\0"
        + struct.pack("<H", len(entries))
        + b"".join(entries)
        + bytes(4)
        + b"\3\0\0\0\7\0\0\0"
    )


TURNED = entry(0x0112, 3, 1, b"\x06")


@pytest.mark.parametrize(
    "name",
    [
        "PNG",
        "JPEG",
        "WEBP",
        "AVIF",
        "GIF",
        "TIFF",
        "BMP",
        "PPM",
        "JPEG2000",
        "TGA",
        "ICO",
        "PCX",
        "QOI",
        "DDS",
        "SGI",
        "IM",
    ],
)
def test_formats_that_pillow_writes_are_read(name):
    data = encoded(picture().resize((64, 64)), name)
    assert difference(decode(data).image, picture().resize((64, 64))) < 12


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I", "F"]
)
def test_every_mode_becomes_rgb(mode):
    grey = picture().convert("L")
    sources = {
        "I;16": Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
        "I": grey.convert("I"),
        "F": grey.convert("F"),
    }
    if mode == "LAB":
        from PIL import ImageCms

        source = ImageCms.profileToProfile(
            picture(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    else:
        source = sources.get(mode) or picture().convert(mode)
    if mode in ("PA", "HSV"):
        pytest.skip("no format that Pillow writes holds it")
    data = encoded(source, "TIFF" if mode not in ("P", "LA") else "PNG")
    decoded = decode(data).image
    assert decoded.mode == "RGB"
    wanted = grey.convert("RGB") if mode in ("L", "LA", "I;16", "I", "F") else picture()
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
    assert grey_levels(broken).tolist() == [[0, 255], [0, 255]] or grey_levels(broken)[0, 0] == 0
    assert grey_levels(np.full((2, 2), np.nan, dtype=np.float32)).max() == 0
    assert grey_levels(np.full((2, 2), -7, dtype=np.int32)).max() == 0


def test_a_radiograph_of_16_bits_is_read_as_its_8_bits():
    grey = picture().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for data in (encoded(deep, "PNG"), encoded(deep, "TIFF"), encoded(deep, "TIFF", compression="tiff_lzw")):
        assert difference(decode(data).image, grey.convert("RGB")) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 95}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_the_views_are_upright_and_as_stored(name, options, orientation):
    stored = picture()
    stated = Image.Exif()
    stated[0x0112] = orientation
    decoded = decode(encoded(stored, name, exif=stated, **options))
    assert decoded.orientation == orientation
    views = dict(decoded.views())
    assert set(views) == {1, orientation}
    assert difference(views[1], stored) < 6
    assert difference(views[orientation], turn(stored, orientation)) < 6
    assert next(decoded.views())[0] == orientation


def test_16_bit_grey_is_turned_like_any_image():
    stored = Image.fromarray(np.arange(6 * 4, dtype=np.uint16).reshape(4, 6) * 2800)
    stated = Image.Exif()
    stated[0x0112] = 6
    for name in ("PNG", "TIFF"):
        views = dict(decode(encoded(stored, name, exif=stated)).views())
        assert (views[1].size, views[6].size) == ((6, 4), (4, 6))
        np.testing.assert_array_equal(np.asarray(views[6]), np.asarray(turn(views[1], 6)))


def test_xmp_and_a_raw_profile_state_an_orientation_too():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    assert decode(encoded(picture(), "JPEG", xmp=xmp)).orientation == 8
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif(TURNED)):8}\n{exif(TURNED).hex()}\n")
    assert decode(encoded(picture(), "PNG", pnginfo=text)).orientation == 6


MALFORMED = {
    "a rational where text belongs": exif(TURNED, entry(0x0131, 5, 1, b"\x26")),
    "text where a number belongs": exif(TURNED, entry(0x011A, 2, 4, b"abc")),
    "a value outside of the data": exif(TURNED, entry(0x8769, 4, 1, b"\xff\xff\xff\x7f")),
    "a count without end": exif(TURNED, entry(0x010E, 2, 0xFFFFFFFF, b"\x26")),
    "an unknown type": exif(TURNED, entry(0x010F, 99, 1, b"x")),
    "a division by zero": exif(TURNED, entry(0x011A, 5, 1, b"\x2a"), entry(0x0128, 3, 1, b"\x02")),
    "a directory in itself": exif(TURNED, entry(0x8769, 4, 1, b"\x08")),
    "no directory": b"Exif\0\0II*\0\xff\xff\xff\xff",
    "no header": b"Exif\0\0nonsense",
    "nothing": b"Exif\0\0",
    "half of an entry": exif(TURNED)[:22],
}


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("what", MALFORMED)
def test_no_malformed_entry_costs_the_pixels(name, what):
    data = (
        encoded(picture(), name, exif=exif(TURNED, entry(0x010E, 2, 120, b"\x26")) + bytes(120))
        if name == "AVIF"
        else encoded(picture(), name, exif=MALFORMED[what])
    )
    if name == "AVIF":  # Pillow would not write it: put it where another was
        at = max(data.find(b"II*\0"), data.find(b"MM\0*"))
        blob = MALFORMED[what][6:]
        data = data[:at] + blob + data[at + len(blob) :]
    decoded = decode(data)
    assert difference(decoded.image, picture()) < 12
    if name != "AVIF" and what in list(MALFORMED)[:7]:
        assert decoded.orientation == 6


def test_no_mutated_exif_costs_the_pixels():
    rng = random.Random(0)
    stated = Image.Exif()
    stated.update({0x0112: 6, 0x0131: "soft", 0x011A: 72.0, 0x0128: 2})
    stated.get_ifd(0x8769)[0x9000] = b"0230"
    blob = stated.tobytes()
    for _ in range(300):
        mutated = bytearray(blob)
        for _ in range(rng.choice([1, 2, 4])):
            mutated[rng.randrange(6, len(blob))] = rng.randrange(256)
        for name in ("JPEG", "PNG", "WEBP"):
            assert decode(encoded(picture(), name, exif=bytes(mutated))).image.size == (WIDTH, HEIGHT)
        assert exif_orientation(bytes(mutated)) in {None, *range(1, 9)}


def test_a_tiff_whose_description_is_malformed_keeps_its_pixels():
    stated = Image.Exif()
    stated.update({0x0112: 6, 0x010E: "a description", 0x0131: "software", 0x011A: 72.0})
    data = bytearray(encoded(picture(), "TIFF", exif=stated))
    (start,) = struct.unpack_from("<I", data, 4)
    (n,) = struct.unpack_from("<H", data, start)
    for at in range(start + 2, start + 2 + 12 * n, 12):
        if struct.unpack_from("<H", data, at)[0] in (0x010E, 0x0131, 0x011A):
            struct.pack_into("<HII", data, at + 2, 5, 0xFFFFFF, 0xFFFFFF)
    decoded = decode(bytes(data))
    assert difference(decoded.image, picture()) == 0
    assert decoded.orientation == 6


def test_of_several_frames_the_first_is_read():
    first, second = picture(), picture(1)
    options = {"save_all": True, "append_images": [second]}
    for name in ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"):
        decoded = decode(encoded(first, name, **options))
        assert difference(decoded.image, first) < 12, name
        assert decoded.has_more_frames == (name != "MPO"), "previews inside photographs are not counted"
    assert not decode(encoded(first, "GIF")).has_more_frames


def claimed_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    with pytest.raises(Image.DecompressionBombError):
        decode(claimed_png(60_000, 60_000))


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
    import subprocess

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
