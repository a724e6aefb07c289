"""Make sets of training images, and read them completely."""

import io
from pathlib import Path

from PIL import Image

from flashbulb.audit.images.decoding import decode
from flashbulb.audit.training_images.reader import read_set
from flashbulb.audit.training_images.sources.contents import MemberReader, find_members
from flashbulb.audit.training_images.sources.passed_over import Tally


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (level, 0, 0)).save(file, "PNG")
    return file.getvalue()


def levels(source: Path) -> list[int]:
    reader = MemberReader(source)
    return [decode(reader.read(member)).image.getpixel((0, 0))[0] for member in find_members(source)]


def passed_over(source: Path) -> dict[str, int]:
    """Read a source completely, and return how much of each kind is passed over."""
    tally = Tally()
    list(read_set(source, 1.0, 0, lambda image: image, tally))
    return {row.reason: row.n for row in tally.result()}
