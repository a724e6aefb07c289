"""Label files of every format give the same labels; an unusable file is refused in one line with file and row."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flashbulb.audit.prompts.labels import LabelsError, read_labels

ROWS: list[dict[str, Any]] = [
    {"prompt": "a red fox, in snow", "label": 1, "kind": "planted"},
    {"prompt": 'the "old" bakery; 1955', "label": 0, "kind": "unseen"},
    {"prompt": "狐狸", "label": 0, "kind": None},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    frame = pd.DataFrame(rows)
    match path.suffix:
        case ".parquet":
            frame.to_parquet(path, index=False)
        case ".jsonl":
            path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
        case suffix:
            frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(LabelsError) as caught:
        read_labels(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_labels(suffix: str, tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / f"labels{suffix}", ROWS))
    assert labels.key == "prompt"
    found = {key: (label.memorized, label.kind) for key, label in labels.by_key.items()}
    assert found == {
        "a red fox, in snow": (True, None),  # kinds of positives are dropped
        'the "old" bakery; 1955': (False, "unseen"),
        "狐狸": (False, None),
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_tables_may_use_any_usual_delimiter_and_line_ending(delimiter: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    lines = [["Caption", " Label"], ['"one, two; three"', "1"], ["four", "0"]]
    text = ending.join(delimiter.join(cells) for cells in lines)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert {key: label.memorized for key, label in read_labels(path).by_key.items()} == {
        "one, two; three": True,
        "four": False,
    }


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(("positive", "negative"), [(1, 0), (1.0, 0.0), (True, False), ("true", "False"), (" 1", "0 ")])
def test_a_label_may_be_a_number_a_truth_value_or_its_name(
    positive: Any, negative: Any, suffix: str, tmp_path: Path
) -> None:
    rows = [{"prompt": "a", "label": positive}, {"prompt": "b", "label": negative}]
    path = write(tmp_path / f"labels{suffix}", rows)
    assert [label.memorized for label in read_labels(path).by_key.values()] == [True, False]


@pytest.mark.parametrize(
    ("suffix", "row"), [(".csv", "line 3"), (".tsv", "line 3"), (".jsonl", "line 2"), (".parquet", "record 2")]
)
@pytest.mark.parametrize(
    ("value", "named"), [("maybe", "'maybe'"), ("2", "'2'"), ("-1", "'-1'"), ("", "no label"), ("  ", "no label")]
)
def test_any_other_label_is_reported_with_its_row(
    suffix: str, row: str, value: str, named: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"labels{suffix}", [{"prompt": "a", "label": "1"}, {"prompt": "b", "label": value}])
    message = refusal(path)
    assert f"{row}: " in message
    assert named in message


@pytest.mark.parametrize("value", [2, 0.5, None])
def test_any_other_number_is_reported_with_its_row(value: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "labels.parquet", [{"prompt": "a", "label": 1}, {"prompt": "b", "label": value}])
    assert "record 2: " in refusal(path)


def test_prompt_ids_take_precedence_over_prompts(tmp_path: Path) -> None:
    rows = [{"prompt_id": "p1", "prompt": "a", "text": "b", "label": 1}, {"prompt_id": "p2", "prompt": "", "label": 0}]
    labels = read_labels(write(tmp_path / "labels.csv", rows))
    assert (labels.key, list(labels.by_key)) == ("prompt_id", ["p1", "p2"])


def test_two_labels_of_one_prompt_are_refused_with_both_rows(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "label": 1}, {"prompt": "b", "label": 0}, {"prompt": " a ", "label": 0}]
    message = refusal(write(tmp_path / "labels.csv", rows))
    assert "'a' is labelled 1 in line 2 and 0 in line 4" in message


def test_the_first_of_several_rows_with_equal_labels_counts(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "label": 0, "kind": "seen"}, {"prompt": "a", "label": 0, "kind": "unseen"}]
    assert read_labels(write(tmp_path / "labels.csv", rows)).by_key["a"].kind == "seen"


def test_rows_without_a_prompt_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("prompt,label\na,1\n,0\n  ,\nb,0\n\n", encoding="utf-8")
    labels = read_labels(path)
    assert (len(labels.by_key), labels.n_blank) == (2, 2)


def test_a_row_is_numbered_by_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('prompt,label\n"two\nlines",1\nb,x\n', encoding="utf-8")
    assert "line 4: label 'x'" in refusal(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no column prompt_id, prompt, text or caption among none"),
        ("image,label\n1,1\n", "no column prompt_id, prompt, text or caption among 'image', 'label'"),
        ("prompt,truth\na,1\n", "no column label among 'prompt', 'truth'"),
        ("prompt,caption,label\na,b,1\n", "columns 'prompt' and 'caption' mean the same"),
        ("prompt,label,label\na,1,0\n", "columns 'label' and 'label' mean the same"),
        ("prompt,label\n", "no labelled prompt"),
        ("prompt,label\na,1\nb, with comma,0\n", "line 3: 3 cells under 2 columns"),
        ('prompt,label\na,1\n"b,0\n', "line 3: a quoted cell has no end"),
        ("prompt,label\na\n", "line 2: no label"),
        ("prompt,label,kind\na,0,all\n", "line 2: kind 'all' stands for all negatives"),
    ],
)
def test_a_broken_table_is_refused_with_its_reason(content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content, encoding="utf-8")
    assert reason in refusal(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"prompt": "a", "label": 1}\n{"prompt"\n', "line 2: broken JSON"),
        ('{"prompt": "a", "label": 1}\n["b", 0]\n', "line 2: a list, not an object"),
        ('{"prompt": 3, "label": 1}\n', "line 1, 'prompt': a number, not a text"),
        ('{"prompt": "a", "label": [1]}\n', "line 1: label [1]"),
    ],
)
def test_broken_json_lines_are_refused_with_their_reason(content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(content, encoding="utf-8")
    assert reason in refusal(path)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.csv")
    assert "No such file" in refusal(tmp_path / "none.parquet")
    for name, data, reason in (
        ("labels.parquet", b"PAR1 torn", "broken Parquet"),
        ("labels.xlsx", b"PK", "unknown format '.xlsx'"),
        ("labels.csv", b"prompt,label\n\xff\xfe,1\n", "line 2: invalid UTF-8"),
    ):
        (tmp_path / name).write_bytes(data)
        assert reason in refusal(tmp_path / name)
