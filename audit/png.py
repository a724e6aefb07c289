"""Write PNG files, whole and only where they change."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from reports.files import whole_file


def save_png(path: Path, pixels: npt.NDArray[np.uint8], stated: Mapping[str, str]) -> None:
    """Write pixels [height, width] or [height, width, 3] with text in their metadata; a file that says so stays."""
    info = PngInfo()
    for key, text in stated.items():
        info.add_itxt(key, text)
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG", pnginfo=info)
    content = encoded.getvalue()
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_bytes(content)
