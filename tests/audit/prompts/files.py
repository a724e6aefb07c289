"""Write prompt files and read what becomes of them."""

import csv
import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.prompt_set import PromptSet, read_prompts

NASTY = [
    'a "quoted" word, and a comma; a semicolon\tand a tab',
    "two\nlines",
    "three\r\nWindows lines",
    "a lone\rcarriage return",
    "Żółć 北京 🎨 \u2028 \x0b \x85 inside",
    "null",
    "NaN",
    '"fully quoted"',
    "=formula, 'single'",
    "\ufeffmark inside",
]
"""Texts that formats and readers mistake for something else."""


def written(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def texts_of(prompts: PromptSet) -> list[str]:
    return [prompt.text for prompt in prompts.prompts]


def refusal(path: str | Path, text_column: str | None = None) -> str:
    """The line with which a file is refused."""
    with pytest.raises(PromptFileError) as refused:
        read_prompts(str(path), text_column)
    message = str(refused.value)
    assert message
    assert "\n" not in message
    return message


def csv_text(rows: list[list[str]], delimiter: str = ",") -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    return buffer.getvalue()


def jsonl_text(values: list[object]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def parquet_file(path: Path, name: str, texts: list[str | None], kind: pa.DataType | None = None) -> str:
    pq.write_table(pa.table({"id": range(len(texts)), name: pa.array(texts, type=kind or pa.string())}), path)
    return str(path)


def renderings(texts: list[str]) -> dict[str, str]:
    """Render the texts in every format whose cells may hold any character."""
    wide = [["", "Caption", "url"], *([str(i), text, "u"] for i, text in enumerate(texts))]
    return {
        "comma.csv": csv_text(wide),
        "semicolon.csv": csv_text(wide, ";"),
        "tab.csv": csv_text(wide, "\t"),
        "tab.tsv": csv_text(wide, "\t"),
        "narrow.csv": csv_text([["caption"], *([text] for text in texts)]),
        "objects.jsonl": jsonl_text([{"prompt": text, "i": 1} for text in texts]),
        "strings.ndjson": jsonl_text(list(texts)),
        "strings.json": json.dumps(texts),
        "objects.json": json.dumps([{"TEXT": text} for text in texts], indent=1),
    }


def give_stdin(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
