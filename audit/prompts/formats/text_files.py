"""Read the text of plain and gzip files, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark."""

from __future__ import annotations

import gzip
import io
import shlex
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

from flashbulb.audit.prompts.formats.errors import MOST_BYTES, PromptFileError

_CHUNK = 2**20
_SMALL = 2**26
_HIGHEST_RATIO = 200
"""Text seldom shrinks to less than a twentieth, a gzip bomb to a thousandth."""

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_OTHER_FORMATS = (
    (b"\x1f\x8b", "this looks like gzip: add .gz to its name"),
    (b"PAR1", "this looks like Parquet: rename the file to .parquet"),
    (b"ARROW1", "this looks like Arrow: rename the file to .arrow"),
    (b"PK\x03\x04", "this looks like a zip archive or a spreadsheet: unpack it or export it as CSV"),
)


def read_bytes(path: str | Path) -> bytes | bytearray:
    """Read a file of at most MOST_BYTES.

    Raises:
        OSError: the file cannot be read.
        PromptFileError: it is larger.
    """
    with Path(path).open("rb") as file:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device, which may have no end
            return read_stream(file, str(path))
        if status.st_size > MOST_BYTES:
            raise _too_large(str(path))
        return file.read()


def read_stream(stream: BinaryIO, source: str) -> bytearray:
    """Read at most MOST_BYTES from a stream.

    Raises:
        PromptFileError: there are more.
    """
    data = bytearray()
    while chunk := stream.read(_CHUNK):
        data += chunk
        if len(data) > MOST_BYTES:
            raise _too_large(source)
    return data


def _too_large(source: str) -> PromptFileError:
    return PromptFileError(f"{source}: more than {MOST_BYTES // 2**20} MiB of text; split it or draw a sample")


def gunzip(data: bytes | bytearray, source: str) -> bytearray:
    """Unpack a gzip file.

    Raises:
        PromptFileError: it is damaged, or it unpacks to more than MOST_BYTES or like no text would.
    """
    text = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while chunk := file.read(_CHUNK):
                text += chunk
                if len(text) > max(_SMALL, _HIGHEST_RATIO * len(data)):
                    raise PromptFileError(
                        f"{source}: unpacks to more than {_HIGHEST_RATIO} times its size, which no list of prompts "
                        "does; if you trust it, unpack it"
                    )
                if len(text) > MOST_BYTES:
                    raise _too_large(source)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise PromptFileError(f"{source}: broken gzip ({error}); compress it again or drop .gz") from error
    return text


def decode_text(data: bytes | bytearray, source: str) -> str:
    """Decode UTF-8 with or without a byte order mark, and UTF-16 and UTF-32 with one.

    Raises:
        PromptFileError: a NUL or another encoding, with the byte offset.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    if data.startswith(b"version https://git-lfs.github.com/spec/"):
        raise PromptFileError(f"{source}: a Git LFS pointer in place of the file; fetch the file with git lfs pull")
    try:
        text = data.decode(encoding)
        offset, what = text.find("\0"), "NUL byte"
        if offset >= 0:
            offset = len(text[:offset].encode(encoding))
    except UnicodeDecodeError as error:
        text, offset, what = "", error.start, f"invalid {encoding.upper()}"
    if offset >= 0:
        line = data[:offset].decode(encoding, errors="ignore").count("\n") + 1
        raise PromptFileError(f"{source}, line {line}: {what} at byte offset {offset}; {_repair(data, offset, source)}")
    return text.removeprefix("\ufeff")


def _repair(data: bytes | bytearray, offset: int, source: str) -> str:
    for mark, advice in _OTHER_FORMATS:
        if data.startswith(mark):
            return advice
    start = bytes(data[:1000])
    if data.startswith(tuple(mark for mark, _ in _MARKS)):
        return "the file is torn: save it again, best as UTF-8"
    for name, zeros in (("UTF-16LE", start[1::2]), ("UTF-16BE", start[0::2])):
        if start and zeros.count(0) > len(start) // 4:
            return f"this looks like {name} without a byte order mark: {_conversion(f'-f {name}', source)}"
    if data[offset] == 0:
        return "remove it or save the file as UTF-8 text"
    if not data[:offset].isascii():
        return f"what comes before is UTF-8: repair the line, or drop such bytes: {_conversion('-c -f UTF-8', source)}"
    return f"save it as UTF-8 text; if it comes from Windows: {_conversion('-f CP1252', source)}"


def _conversion(options: str, source: str) -> str:
    """Return the command that writes a file as UTF-8 beside it, or that stands before a pipe."""
    path = Path(source)
    command = f"iconv {options} -t UTF-8"
    if not path.exists():  # standard input
        return command
    if path.suffix == ".gz":
        name = path.with_suffix("")
        return f"gunzip -c {shlex.quote(source)} | {command} > {shlex.quote(f'{name.stem}-utf8{name.suffix}')}"
    return f"{command} {shlex.quote(source)} > {shlex.quote(f'{path.stem}-utf8{path.suffix}')}"
