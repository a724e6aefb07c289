"""Tars and zips of any kind are read in place, or counted and named; nothing is unpacked."""

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.audit.training_images.sources.archives import TOO_LARGE
from flashbulb.audit.training_images.sources.contents import find_members
from tests.audit.files.hostile_images import header
from tests.audit.training_images.sets import levels, passed_over, png


def add(tar: tarfile.TarFile, name: str, data: bytes, **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(data))


def test_zips_are_read_in_place(folder):
    with zipfile.ZipFile(folder / "shard.ZIP", "w") as archive:
        archive.writestr("a/2.png", png(2), zipfile.ZIP_STORED)
        archive.writestr("a/3.webp", png(3), zipfile.ZIP_DEFLATED)
        archive.writestr("4", png(4), zipfile.ZIP_DEFLATED)
        archive.writestr("captions.txt", "a star")
        archive.writestr("empty/", "")
        archive.writestr("lzma.png", png(5), zipfile.ZIP_LZMA)
        archive.writestr("inner.zip", b"PK")
        archive.writestr("inner.tar.gz", b"\x1f\x8b")
        archive.writestr("rows.parquet", b"PAR1")
    assert levels(folder) == [1, 2, 3, 4]
    assert levels(folder / "shard.ZIP") == [2, 3, 4]
    assert passed_over(folder) == {"neither stored nor deflated in a zip": 1, "archive inside an archive": 3, ".txt": 1}
    assert sorted(path.name for path in folder.iterdir()) == ["good.png", "shard.ZIP"]


def test_an_encrypted_zip_is_named_not_guessed(folder):
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.writestr("secret.png", png(2))
    data = bytearray((folder / "x.zip").read_bytes())
    data[6] |= 1
    data[data.rfind(b"PK\1\2") + 8] |= 1
    (folder / "x.zip").write_bytes(data)
    assert levels(folder) == [1]
    assert passed_over(folder) == {"encrypted": 1}


def test_no_name_in_an_archive_leads_out_of_it(folder, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(9))
    names = [str(outside), "../../outside.png", "a/../../../outside.png", "..\\outside.png"]
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for name in names:
            archive.writestr(name, png(2))
    with tarfile.open(folder / "y.tar", "w") as tar:
        for name in names:
            add(tar, name, png(3))
    assert levels(folder) == [1, 2, 2, 2, 2, 3, 3, 3, 3]
    for member in find_members(folder):
        path = member.path(folder)
        assert member.name == "" or not path.exists()
        assert path.is_relative_to(folder)
        assert ".." not in path.parts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.png", "set"]


def test_a_zip_bomb_is_not_inflated(folder, monkeypatch):
    monkeypatch.setattr("flashbulb.audit.training_images.sources.archives.MAX_BYTES", 1 << 16)
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("honest.png", bytes(1 << 20))
        archive.writestr("liar.png", bytes(1 << 20))
    data = bytearray((folder / "x.zip").read_bytes())
    struct.pack_into("<I", data, data.rfind(b"PK\1\2") + 24, 100)  # the size it claims
    (folder / "x.zip").write_bytes(data)
    assert passed_over(folder) == {TOO_LARGE: 1, "cannot be read": 1}


def padded(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // 512) * 512, b"\0")


GOOD = header("good.png", len(png(2))) + padded(png(2))
TARS: dict[str, tuple[bytes, dict[str, int]]] = {
    "8 GB that are not there": (
        GOOD + header("huge.png", 8 << 30),
        {TOO_LARGE: 1, "rest of a damaged archive": 1},
    ),
    "a long name of 8 GB": (GOOD + header("x", 8 << 30, b"L"), {"rest of a damaged archive": 1}),
    "attributes of 8 GB": (GOOD + header("x", 8 << 30, b"x"), {"rest of a damaged archive": 1}),
    "no header": (GOOD + b"\xff" * 512, {"rest of a damaged archive": 1}),
    "a flipped bit": (GOOD + GOOD.replace(b"good", b"hood") + GOOD, {"rest of a damaged archive": 1}),
    "a second tar behind": (GOOD + bytes(1024) + GOOD + bytes(1024), {"rest of a damaged archive": 1}),
    "names without end": (GOOD + (header("x", 4, b"L") + padded(b"abc\0")) * 3000, {"rest of a damaged archive": 1}),
    "attributes that are no numbers": (
        GOOD + header("x", 22, b"x") + padded(b"22 GNU.sparse.map=a,b\n") + GOOD,
        {"rest of a damaged archive": 1},
    ),
    "a sparse member": (GOOD + header("s.png", 512, b"S") + bytes(512) + bytes(1024), {"sparse member of a tar": 1}),
    "links and devices": (
        GOOD + header("l.png", 0, b"1") + header("s.png", 0, b"2") + header("d.png", 0, b"3") + header("p", 0, b"6"),
        {"link or device in a tar": 4},
    ),
    "a name with a zero": (
        GOOD + header("x", 18, b"x") + padded(b"18 path=a\0b/c.png\n") + header("y", len(png(3))) + padded(png(3)),
        {},
    ),
    "an archive": (GOOD + header("a.tar", 512) + bytes(512), {"archive inside an archive": 1}),
    "captions": (GOOD + header("good.txt", 4) + padded(b"star") + bytes(1024), {".txt": 1}),
}


@pytest.mark.parametrize("what", TARS)
def test_no_tar_is_a_traceback(tmp_path, what):
    data, expected = TARS[what]
    (tmp_path / "x.tar").write_bytes(data)
    assert passed_over(tmp_path) == expected
    assert levels(tmp_path / "x.tar")[0] == 2


def test_a_sparse_tar_of_gnu_is_named(folder):
    blocks = b"1\n0\n4\n".ljust(512, b"\0") + b"data".ljust(512, b"\0")
    with tarfile.open(folder / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        fields = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "s.png",
            "GNU.sparse.realsize": "4",
        }
        add(tar, "GNUSparseFile.0/s.png", blocks, pax_headers=fields)
    assert passed_over(folder) == {"sparse member of a tar": 1}


@pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.parquet"])
def test_damaged_archives_are_named(folder, name):
    rng = np.random.default_rng(0)
    (folder / name).write_bytes(rng.bytes(5000))
    assert sum(passed_over(folder).values()) == 1
    (folder / name).write_bytes(b"")
    assert sum(passed_over(folder).values()) == 1


def as_tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for number in range(6):
            add(tar, f"{number}.png", png(number))


def as_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(6):
            archive.writestr(f"{number}.png", png(number))


def as_parquet(path: Path) -> None:
    rows = [{"bytes": png(number), "path": f"{number}.png"} for number in range(6)]
    pq.write_table(pa.table({"image": rows, "text": ["a"] * 6}), path, row_group_size=2)


@pytest.mark.parametrize(("name", "write"), [("x.tar", as_tar), ("x.zip", as_zip), ("x.parquet", as_parquet)])
def test_mutated_archives_are_read_or_named(folder, name, write: Callable[[Path], None]):
    write(folder / name)
    whole, rng = (folder / name).read_bytes(), np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 5)):
            data[at] = rng.integers(0, 256)
        (folder / name).write_bytes(data[: rng.integers(len(whole) // 2, len(whole) + 1)])
        passed_over(folder)
