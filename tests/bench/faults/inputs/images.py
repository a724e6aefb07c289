"""Training images of the field: every format that can be read is read, and what is not is counted and named."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.audit.files.hostile_images import claimed_png, header
from tests.audit.images.files import encoded, picture
from tests.bench.faults.inputs.cases import Case, Maker, images_case
from tests.bench.faults.toys import Toys

PNG = encoded(picture(), "PNG")
SUFFIXES = {"avif": "AVIF", "gif": "GIF", "tif": "TIFF", "jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000", "ppm": "PPM"}
DEEP = np.asarray(picture().convert("L")).astype(np.uint16) * 257
EXIF = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIHHHHII", 2, 0x0112, 3, 1, 6, 0, 0x0131, 5, 1, 38)


def files(contents: dict[str, bytes], n_images: int | None, *words: str) -> Maker:
    """Return the maker of a folder of files."""

    def make(toys: Toys, folder: Path) -> Case:
        for name, data in contents.items():
            path = folder / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return images_case(folder / "set", n_images, *words)

    return make


def zipped(names: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(names: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def parquet() -> bytes:
    """Return Hugging Face's Parquet: a struct of bytes and path."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    file = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array([{"bytes": PNG, "path": "1.png"}], kind)}), file)
    return file.getvalue()


def deep_folders(toys: Toys, folder: Path) -> Case:
    """Make folders as deep as one path can name."""
    path = folder / "set"
    while len(str(path)) < 3800:
        path = path / ("d" * 100)
    path.mkdir(parents=True)
    (path / "deep.png").write_bytes(PNG)
    (folder / "set" / "1.png").write_bytes(PNG)
    return images_case(folder / "set", 2)


def odd_names(toys: Toys, folder: Path) -> Case:
    """Name files with commands for a terminal, and with bytes that are no UTF-8."""
    (folder / "set").mkdir()
    (folder / "set" / "\x1b[31mred\u202e.png").write_bytes(b"no image")
    (folder / "set" / os.fsdecode(b"caf\xe9.png")).write_bytes(PNG)
    return images_case(folder / "set", 1, "cannot be read", "U+001B")


SET = {"good.png": PNG}
IMAGES: dict[str, Maker] = {
    "every suffix": files({f"a.{s}": encoded(picture(), name) for s, name in SUFFIXES.items()}, len(SUFFIXES)),
    "no suffix": files({"image": PNG, "photo.dat": PNG}, 2),
    "zip": files({"a.zip": zipped({"1.png": PNG, "2.avif": encoded(picture(), "AVIF")}), **SET}, 3),
    "tar shards": files({"0.tar": tarred({"1.png": PNG, "1.txt": b"a star"}), "1.tar": tarred({"2.tiff": PNG})}, 2),
    "parquet with an image struct": files({"train.parquet": parquet()}, 1),
    "grey of 16 bits": files({"x.png": encoded(Image.fromarray(DEEP), "PNG")}, 1),
    "EXIF of a wrong type": files({"phone.jpg": encoded(picture(), "JPEG", exif=EXIF + bytes(4))}, 1),
    "EXIF torn": files({"phone.jpg": encoded(picture(), "JPEG", exif=EXIF[:19])}, 1),
    "bomb": files({"bomb.png": claimed_png(60_000), **SET}, 1, "bomb.png"),
    "tar member of 8 GB": files({"x.tar": header("huge.png", 8 << 30), **SET}, 1, "x.tar"),
    "tar with a long name of 8 GB": files({"x.tar": header("x", 8 << 30, b"L"), **SET}, 1, "damaged archive"),
    "sparse tar": files({"x.tar": header("s.png", 512, b"S") + bytes(1536), **SET}, 1, "sparse"),
    "tar attributes that are no numbers": files(
        {"x.tar": header("x", 22, b"x") + b"22 GNU.sparse.map=a,b\n".ljust(512, b"\0"), **SET}, 1, "damaged archive"
    ),
    "a torn tar": files({"x.tar": tarred({"1.png": PNG, "2.png": PNG})[: len(PNG) + 1600], **SET}, 2, "damaged"),
    "a torn zip": files({"x.zip": zipped({"1.png": PNG})[:-30], **SET}, 1, "x.zip"),
    "names that lead outside": files({"x.zip": zipped({"../../out.png": PNG}), **SET}, 2),
    "metadata that leads outside": files({"metadata.csv": b"file_name\n../../x.png\n", **SET}, None, "outside"),
    "metadata that is deep": files({"metadata.jsonl": b"[" * 100_000, **SET}, None, "nested too deeply"),
    "metadata of missing files": files(
        {"metadata.jsonl": json.dumps({"file_name": "2.png"}).encode(), **SET}, 1, "2.png"
    ),
    "deep folders": deep_folders,
    "names for a terminal": odd_names,
    "formats that Pillow cannot read": files({"a.heic": b"\0\0\0\x18ftypheic" + bytes(64), **SET}, 1, ".heic"),
    "text named png": files({"a.png": b"not an image", **SET}, 1, "cannot be read"),
    "nothing": files({"a.txt": b"x"}, None, "no training image"),
    "a program for PostScript": files({"a.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n", **SET}, 1, ".eps"),
}
