"""Write the pairs to train on as an imagefolder, as webdataset shards, or as a Parquet file."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_PAIRS_PER_SHARD, _PAIRS_PER_GROUP = 1000, 100
_FEATURES = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}


class Pair(NamedTuple):
    """A pair to train on: the bytes of an image file, their suffix such as `.png`, and the caption."""

    image: bytes
    suffix: str
    caption: str


def write_imagefolder(folder: Path, pairs: Iterable[Pair]) -> None:
    """Write each image as a file, and metadata.jsonl with `file_name` and `text`, as `datasets` reads them."""
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
        for number, pair in enumerate(pairs):
            name = f"{number:06d}{pair.suffix}"
            (folder / name).write_bytes(pair.image)
            metadata.write(json.dumps({"file_name": name, "text": pair.caption}, ensure_ascii=False) + "\n")


def write_webdataset(folder: Path, pairs: Iterable[Pair]) -> None:
    """Write shards of at most a thousand pairs: an image and a .txt of the same name each."""
    for shard, part in enumerate(_parts(pairs, _PAIRS_PER_SHARD)):
        with tarfile.open(folder / f"train-{shard:05d}.tar", "w") as tar:
            for number, pair in enumerate(part, shard * _PAIRS_PER_SHARD):
                _add(tar, f"{number:06d}{pair.suffix}", pair.image)
                _add(tar, f"{number:06d}.txt", pair.caption.encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def write_parquet(folder: Path, pairs: Iterable[Pair]) -> None:
    """Write a file with the columns `image`, of bytes and path, and `text`, as `datasets` stores them."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = json.dumps({"info": {"features": _FEATURES}})
    schema = pa.schema([("image", image), ("text", pa.string())], metadata={"huggingface": features})
    with pq.ParquetWriter(folder / "train-00000-of-00001.parquet", schema) as file:
        for group, part in enumerate(_parts(pairs, _PAIRS_PER_GROUP)):
            rows = [
                {"image": {"bytes": pair.image, "path": f"{number:06d}{pair.suffix}"}, "text": pair.caption}
                for number, pair in enumerate(part, group * _PAIRS_PER_GROUP)
            ]
            file.write_table(pa.Table.from_pylist(rows, schema=schema))


def _parts(pairs: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    unread = iter(pairs)
    while part := list(islice(unread, size)):
        yield part


FORMATS: dict[str, Callable[[Path, Iterable[Pair]], None]] = {
    "imagefolder": write_imagefolder,
    "webdataset": write_webdataset,
    "parquet": write_parquet,
}
