"""An image is compared upright and as it is stored; malformed metadata cost neither its pixels nor its orientation."""

import random
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from flashbulb.audit.images.decoding import decode
from flashbulb.audit.images.orientation import exif_orientation, turn
from tests.audit.images.files import HEIGHT, WIDTH, difference, encoded, picture


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
