"""Prompt files of the field: read as people mean them, or refused with the way out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.faults.inputs.cases import Case, Maker, prompts_case
from tests.bench.faults.toys import Toys


def content(name: str, data: str | bytes, n_prompts: int | None, *words: str) -> Maker:
    """Return the maker of one file."""

    def make(toys: Toys, folder: Path) -> Case:
        path = folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return prompts_case(toys, path, n_prompts, *words)

    return make


def files(texts: dict[str, str | bytes], n_prompts: int | None, *words: str) -> Maker:
    """Return the maker of a folder."""

    def make(toys: Toys, folder: Path) -> Case:
        for name, text in texts.items():
            path = folder / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        return prompts_case(toys, folder / "set", n_prompts, *words)

    return make


def table(write: Callable[[Path], object], name: str, n_prompts: int | None, *words: str) -> Maker:
    """Return the maker of a file that a library writes."""

    def make(toys: Toys, folder: Path) -> Case:
        write(folder / name)
        return prompts_case(toys, folder / name, n_prompts, *words)

    return make


def saved_to_disk(path: Path) -> None:
    """Write what `save_to_disk` of Hugging Face's datasets writes."""
    path.mkdir()
    rows = pa.table({"text": ["a cat", "a dog"]})
    file = str(path / "data-00000-of-00001.arrow")
    with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_indices_files": None}
    (path / "state.json").write_text(json.dumps(state))
    (path / "dataset_info.json").write_text("{}")


def odd_column(path: Path) -> None:
    """Write a Parquet file whose column has a name that is no UTF-8."""
    pq.write_table(pa.table({"captioo": ["a cat"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"captioo", b"captio\xff"))


def lists(path: Path) -> None:
    pq.write_table(pa.table({"captions": [["a cat", "a dog"], ["a fox"]]}), path)


SWALLOWED = '"oh my dog\thttp://x/1.jpg\na cat\thttp://x/2.jpg\na bird"\thttp://x/3.jpg\n'
COCO = {
    "images": [{"id": 1}],
    "annotations": [{"image_id": 1, "caption": "a cat"}, {"image_id": 1, "caption": "a dog"}],
}
PIPES = "image_name| comment_number| comment\n1.jpg| 0| a cat\n2.jpg| 1| a dog\n"
SHORT = {"text": "a cat"}

PROMPTS: dict[str, Maker] = {
    "quotes as text in TSV": content("cc.tsv", f"caption\turl\n{SWALLOWED}", 3),
    "quotes as text without header": content("cc.tsv", SWALLOWED, None),
    "one quote that nothing ends": content("a.csv", 'id,caption\n1,"a cat\n2,a dog\n', None, "no end"),
    "csv named txt": content("captions.txt", "image,caption\n1.jpg,A child .\n2.jpg,A girl .\n", None, ".csv"),
    "tsv named txt": content("captions.txt", "image\tcaption\n1.jpg\tA child .\n2.jpg\tA girl .\n", None, ".tsv"),
    "JSON lines named txt": content("p.txt", '{"text": "a cat"}\n{"text": "a dog"}\n', None, ".jsonl"),
    "no header": content("n.tsv", "a bus station\thttp://x/1.jpg\na dog\thttp://x/2.jpg\n", None, "header"),
    "Excel's sep=": content("e.csv", "sep=;\r\nprompt;n\r\na red fox;1\r\n", 1),
    "lists in JSON lines": content("m.jsonl", '{"file_name": "1.png", "text": ["a cat", "a small cat"]}\n', 2),
    "lists in Parquet": table(lists, "l.parquet", 3),
    "COCO captions": content("coco.json", json.dumps(COCO), 2),
    "pipes": content("flickr30k.csv", PIPES, 2),
    "captions": content("a.csv", "id,captions\n1,a cat\n", 1),
    "TEXT": content("a.csv", "id,TEXT\n1,a cat\n", 1),
    "caption_0": content("a.csv", "id,caption_0\n1,a cat\n", 1),
    "cp1252": content("a.txt", "a café\n".encode("cp1252"), None, "UTF-8"),
    "UTF-16 with a mark": content("a.csv", "caption\na café\n".encode("utf-16"), 1),
    "UTF-16 without a mark": content("a.csv", "caption\na cat\n".encode("utf-16-le"), None, "UTF-16"),
    "UTF-8 with a mark": content("a.csv", "\ufeffcaption\na cat\n", 1),
    "sidecars": files({"1.png": b"", "1.txt": "a cat", "2.png": b"", "2.txt": "a dog"}, 2),
    "a folder with one data set inside": files({"train/metadata.jsonl": json.dumps(SHORT)}, 1),
    "a folder of splits": files(
        {"train/metadata.jsonl": json.dumps(SHORT), "test/metadata.jsonl": "{}"}, None, "train"
    ),
    "save_to_disk": table(saved_to_disk, "saved", 2),
    "a bomb in gzip": content("b.jsonl.gz", gzip.compress(b" " * (3 << 30), 1), None),
    "a gzip that is none": content("b.csv.gz", b"prompt\na cat\n", None, "gzip"),
    "a column name that is no UTF-8": table(odd_column, "c.parquet", None, "not UTF-8"),
    "deep JSON": content("d.json", "[" * 100_000, None),
    "deep JSON lines": content("d.jsonl", '{"text":' * 100_000, None),
    "NUL bytes": content("n.txt", b"a cat\0\n", None, "NUL"),
    "no prompts": content("n.txt", "\n\n", None, "no prompts"),
    "a spreadsheet": content("a.csv", b"PK\x03\x04\x14\0" + bytes(99), None, "spreadsheet"),
    "terminal commands in a header": content("t.csv", "\x1b[2Jx,y\na,b\n", None),
}
