"""Read how an image is to be turned for viewing. Of EXIF only this entry is read: any other may be malformed."""

from __future__ import annotations

import re
import struct

from PIL import Image

AS_STORED, ORIENTATION_TAG = 1, 0x0112

_FORMS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # of the integer types of an entry
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_PREFIX = b"Exif\0\0"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image from how it is stored to how it is shown, for an EXIF orientation of 1 to 8."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def orientation_of(image: Image.Image) -> int:
    """Return the orientation that the EXIF or XMP data of a loaded image state, 1 to 8; 1 if none can be read."""
    stated = exif_orientation(_exif(image))
    if stated is not None:
        return stated
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    found = _XMP.search(xmp.encode("utf-8", "replace") if isinstance(xmp, str) else bytes(xmp))
    return int(found[1]) if found else AS_STORED


def exif_orientation(data: bytes) -> int | None:
    """Return the orientation in EXIF data, or in a TIFF file, 1 to 8; None if there is none that can be read."""
    while data.startswith(_PREFIX):
        data = data[len(_PREFIX) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return None
    try:
        for at in entries(data, order):
            tag, kind = struct.unpack_from(f"{order}HH", data, at)
            if tag == ORIENTATION_TAG and kind in _FORMS:
                (value,) = struct.unpack_from(order + _FORMS[kind], data, at + 8)
                return int(value) if 1 <= value <= 8 else None
    except struct.error:
        pass
    return None


def entries(data: bytes, order: str) -> list[int]:
    """Return the positions of the entries, 12 bytes each, of the first directory of a TIFF.

    Args:
        order: of the bytes, `<` or `>`.

    Raises:
        struct.error: the directory lies outside of the data.
    """
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (n,) = struct.unpack_from(f"{order}H", data, start)
    last = min(start + 2 + 12 * n, len(data) - 11)
    return list(range(start + 2, last, 12))


def _exif(image: Image.Image) -> bytes:
    data = image.info.get("exif")
    if isinstance(data, bytes):
        return data
    profile = image.info.get("Raw profile type exif")  # how ImageMagick writes it into a PNG: a heading, then digits
    if isinstance(profile, str):
        try:
            return bytes.fromhex("".join(profile.split("\n")[3:]))
        except ValueError:
            return b""
    return b""
