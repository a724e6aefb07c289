"""Find the images in tar and zip archives, and read them by their position; nothing is unpacked to disk."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flashbulb.audit.images.formats import (
    HEAD,
    has_image_suffix,
    read_head,
    starts_like_an_image,
)
from flashbulb.audit.training_images.sources.members import MAX_BYTES, Member, PassOver, inside
from flashbulb.audit.training_images.sources.passed_over import kind_of_name

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4")
"""Ends of the names of compressed tars, of which no image can be read by itself."""
ARCHIVES = (".tar", ".zip", ".parquet", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".lz4", *COMPRESSED)
"""Ends of the names of archives; a tar or zip is opened in a folder, but not inside another."""
STORED, DEFLATED = "stored", "deflated"

DAMAGED = "rest of a damaged archive"
COMPRESSED_ARCHIVE = "archive to be decompressed to .tar or .zip"
TOO_LARGE = f"larger than {MAX_BYTES >> 20} MiB"

_COMPRESSED_MARKS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_LARGEST_HEADER = 1 << 20  # bytes; a longer name or list of attributes is an attack or damage
_BEHIND_THE_END = 1 << 16  # bytes behind the end of a tar that must be zero
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip's member: its mark, then the lengths of its name and extra field
_PACKINGS = {zipfile.ZIP_STORED: STORED, zipfile.ZIP_DEFLATED: DEFLATED}
_ENCRYPTED = 0x1
_DAMAGES = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ValueError, LookupError, ArithmeticError)
_ERRORS = (*_DAMAGES, RuntimeError, MemoryError, struct.error, zlib.error)


class _Headers(io.BufferedReader):
    """A file that refuses to read more at once than a header needs."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_HEADER:
            raise OSError(f"a header of {size} bytes")
        return super().read(size)


def find_in_tar(path: Path, file: str, pass_over: PassOver) -> Iterator[Member]:
    """Find the images in a tar, in its order.

    Args:
        file: path of the tar relative to the source.
    """
    if read_head(path).startswith(_COMPRESSED_MARKS):
        pass_over(COMPRESSED_ARCHIVE, file or path.name)
        return
    try:
        with _Headers(io.FileIO(path)) as headers, tarfile.open(fileobj=headers, mode="r:") as tar:
            kept: list[tarfile.TarInfo] = vars(tar)["members"]  # emptied below, else it would hold every member
            while (info := tar.next()) is not None:
                if info.isdir():
                    pass
                elif (reason := _kind_in_tar(info)) or (reason := _unwanted(info.name, info.size)):
                    pass_over(reason, f"{file}/{inside(info.name)}")
                elif has_image_suffix(info.name) or _starts_like_an_image(headers, info.offset_data):
                    yield Member(file, info.name, info.offset_data, info.size)
                else:
                    pass_over(kind_of_name(info.name), f"{file}/{inside(info.name)}")
                kept.clear()
            headers.seek(tar.offset)
            if any(headers.read(_BEHIND_THE_END)):  # tarfile stops at a damaged header without a word
                pass_over(DAMAGED, file or path.name)
    except _ERRORS:
        pass_over(DAMAGED, file or path.name)


def _kind_in_tar(info: tarfile.TarInfo) -> str | None:
    if info.issparse():
        return "sparse member of a tar"
    return None if info.isreg() else "link or device in a tar"


def _unwanted(name: str, size: int) -> str | None:
    """Return why a member is not read, judged by its name and size; None if it may be an image."""
    if name.lower().endswith(ARCHIVES):
        return "archive inside an archive"
    return TOO_LARGE if size > MAX_BYTES else None


def _starts_like_an_image(file: BinaryIO, offset: int) -> bool:
    file.seek(offset)
    return starts_like_an_image(file.read(HEAD))


def find_in_zip(path: Path, file: str, pass_over: PassOver) -> Iterator[Member]:
    """Find the images in a zip, in its order.

    Args:
        file: path of the zip relative to the source.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                if reason := _unwanted_in_zip(archive, info):
                    pass_over(reason, f"{file}/{inside(info.filename)}")
                else:
                    packing = _PACKINGS[info.compress_type]
                    yield Member(file, info.filename, info.header_offset, info.compress_size, packing)
    except _ERRORS:
        pass_over(DAMAGED, file or path.name)


def _unwanted_in_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & _ENCRYPTED:
        return "encrypted"
    if info.compress_type not in _PACKINGS:
        return "neither stored nor deflated in a zip"
    if reason := _unwanted(info.filename, max(info.file_size, info.compress_size)):
        return reason
    if has_image_suffix(info.filename):
        return None
    try:
        with archive.open(info) as member:
            return None if starts_like_an_image(member.read(HEAD)) else kind_of_name(info.filename)
    except _ERRORS:
        return kind_of_name(info.filename)


def read_in_zip(file: BinaryIO, member: Member) -> bytes:
    """Read an image of a zip.

    Raises:
        OSError: the zip is damaged or has changed, or the image is larger than `MAX_BYTES`.
    """
    file.seek(member.offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
        raise OSError(f"{member.label} has no header in its zip")
    _, n_name, n_extra = _LOCAL_HEADER.unpack(header)
    file.seek(n_name + n_extra, io.SEEK_CUR)
    packed = file.read(member.size)
    if len(packed) != member.size:
        raise OSError(f"{member.label} has {len(packed)} bytes, not {member.size}")
    if member.packing == STORED:
        return packed
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, MAX_BYTES)
    except zlib.error as error:
        raise OSError(f"{member.label} is damaged: {error}") from error
    if not inflater.eof:
        raise OSError(f"{member.label} is cut short or larger than {MAX_BYTES} bytes")
    return data
