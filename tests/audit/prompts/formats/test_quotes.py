"""Quotation marks are syntax in a well-formed table and text in a dump; a table where they may be both is refused."""

import csv
import io
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashbulb.audit.prompts.labels import LabelsError, read_labels
from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import refusal, texts_of, written

words = st.lists(
    st.sampled_from(["a", "red", "fox,", '"', '"hi"', '5"', '"oh', 'dog"', "x;", "|", "'", '""']), min_size=1
)
plain = words.map(" ".join)
sentences = st.text(st.sampled_from('"",;|\n ab'), min_size=1).map(str.strip).filter(bool)
DUMP = 'caption\turl\n"oh my dog\thttp://x/1.jpg\na cat\thttp://x/2.jpg\na bird"\thttp://x/3.jpg\n'
CAPTIONS = ['"oh my dog', "a cat", 'a bird"']


def well_formed(texts: list[str], delimiter: str, quoting: Literal[0, 1, 2]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting)
    writer.writerows([["id", "caption"], *([str(i), text] for i, text in enumerate(texts))])
    return buffer.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(sentences, min_size=1, max_size=5, unique=True),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_a_well_formed_table_gives_its_texts(texts: list[str], delimiter: str, quoting: Literal[0, 1, 2]) -> None:
    texts = [text for text in texts if not (delimiter == "|" and "|" in text and "\n" in text)] or ["a"]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder, "a.csv"), well_formed(texts, delimiter, quoting))
        assert texts_of(read_prompts(path)) == texts


@settings(max_examples=150, deadline=None)
@given(
    captions=st.lists(plain, min_size=2, unique=True), column=st.integers(0, 2), newline=st.sampled_from(["\n", "\r\n"])
)
@example(captions=['"oh my dog', "a cat", 'a bird"'], column=0, newline="\n")
@example(captions=['"oh my dog', "a cat", 'a bird"'], column=2, newline="\r\n")
@example(captions=["a cat", '"hi" he said', "a dog"], column=1, newline="\n")
@example(captions=["a cat", '"hi"', "a dog"], column=0, newline="\n")
def test_every_line_of_a_dump_is_a_prompt_with_its_quotation_marks_or_the_dump_is_refused(
    captions: list[str], column: int, newline: str
) -> None:
    """Doubled marks, and nothing but whole cells between marks, are evidence for syntax."""
    header, rows = ["url", "n"], [[f"http://x/{i}.jpg", str(i)] for i in range(len(captions))]
    header.insert(column, "caption")
    for row, caption in zip(rows, captions, strict=True):
        row.insert(column, caption)
    text = newline.join("\t".join(row) for row in [header, *rows]) + newline
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder, "a.tsv"), text)
        opening = [caption for caption in captions if caption.startswith('"')]
        if '""' in text or (opening and all(len(c) > 1 and c[-1] == c[0] == '"' for c in opening)):
            try:
                n_rows = read_prompts(path).n_rows
            except ValueError:
                return
            assert n_rows == len(captions)
        else:
            prompts = read_prompts(path)
            assert texts_of(prompts) == captions
            assert [prompt.source_row for prompt in prompts.prompts] == list(range(2, len(captions) + 2))


@pytest.mark.parametrize("delimiter", ["\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_caption_that_begins_with_a_mark_swallows_no_rows(tmp_path: Path, delimiter: str, ending: str) -> None:
    path = written(tmp_path / "a.tsv", DUMP.replace("\t", delimiter).replace("\n", ending))
    assert texts_of(read_prompts(path)) == CAPTIONS


def test_a_row_without_marks_may_lack_cells(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'image_name| n| comment\n1.jpg| 0| " Hi " he said .\n2.jpg| 4   A dog .\n')
    prompts = read_prompts(path)
    assert (texts_of(prompts), prompts.n_empty) == (['" Hi " he said .'], 1)
    assert texts_of(read_prompts(written(tmp_path / "a.tsv", DUMP + "a dog\n"))) == [*CAPTIONS, "a dog"]


@pytest.mark.parametrize(
    "text",
    [
        DUMP.replace("\t", ","),
        DUMP.replace("\t", ";"),
        'id,caption\n1,"oh my dog\n2,a cat\n3,a bird"\n',
        'image,caption\n1.jpg,"oh my dog\n2.jpg,a bird"\n',
        DUMP.replace("caption\turl", '"caption"\t"url"'),
        DUMP + '"a ""big"" dog"\thttp://x/4.jpg\n',
    ],
)
def test_a_cell_that_swallowed_rows_is_refused_with_the_command_that_quotes_every_cell(
    tmp_path: Path, text: str
) -> None:
    path = written(tmp_path / "a.csv", text)
    message = refusal(path)
    assert f"{path}, line 2: a quoted cell holds line breaks" in message
    subprocess.run(message.partition("below the header: ")[2], shell=True, check=True, cwd=tmp_path)
    assert texts_of(read_prompts(str(tmp_path / "a-quoted.csv")))[0] == '"oh my dog'


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ('caption,id\n"a, b\nc",1\n', "a, b\nc"),
        ('caption,id\n"sitting, alone\nin the rain",7\n"a dog",8\n', "sitting, alone\nin the rain"),
        ('caption\turl\n"two\nlines"\tu\n', "two\nlines"),
        ('id\tcaption\n1\t"two\nlines"\n', "two\nlines"),
        ('caption\turl\n"a, b"\tu\na dog\tv\n', "a, b"),
        ('caption\n"two\nlines"\n', "two\nlines"),
        ('"caption"\t"url"\n"a\tb\nc"\t"d"\n', "a\tb\nc"),
        ('"id","caption"\n1,"a\n2,b"\n', "a\n2,b"),
    ],
)
def test_a_quoted_cell_of_several_lines_is_one_prompt(tmp_path: Path, text: str, caption: str) -> None:
    assert texts_of(read_prompts(written(tmp_path / "a.csv", text)))[0] == caption


def test_a_table_that_fits_neither_reading_is_refused_with_both_lines(tmp_path: Path) -> None:
    message = refusal(written(tmp_path / "a.tsv", 'caption\turl\na cat\tu\n"hi" she said\tu\nx\ty\tz\n'))
    assert "line 3: a quoted cell has no end" in message
    assert "repair line 4" in message


def test_labels_are_read_as_prompts_are(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('caption\tlabel\n"oh my dog\t1\na cat\t0\na bird"\t0\n')
    assert list(read_labels(path).by_key) == CAPTIONS
    path.write_text('caption,label\n"oh my dog,1\na cat,0\na bird",0\n')
    with pytest.raises(LabelsError, match="line 2: a quoted cell holds line breaks"):
        read_labels(path)


@pytest.mark.parametrize(
    "text",
    [
        "caption,label\na cat,0\na dog, on a mat\na bird,1\n",
        "id,caption,url\n1,a cat,http://x/1\n2,a dog, on a mat\n",
        "caption;split\r\na cat;train\r\na bird;train\r\na dog; on a mat\r\n",
        "sep=,\ncaption,file,n\na cat,1.png,1\na dog, on a mat,2.png\n",
    ],
)
def test_a_caption_that_an_unquoted_comma_cut_is_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "a.csv", text)
    line = 1 + text.splitlines().index(next(line for line in text.splitlines() if "mat" in line))
    assert refusal(path).startswith(f"{path}, line {line}: a space and 'on a mat' follow the prompt")


@pytest.mark.parametrize(
    ("text", "n_prompts"),
    [
        ("caption, label\na cat, 0\na dog, 1\n", 2),
        ("caption,label\na cat,0\na dog, 1\n", 2),
        ("caption,split\na cat,train\na bird,train\na dog, train\n", 3),
        ("caption,note\na cat,tabby and white\na dog, on a mat\n", 2),
        ('caption,label\na cat,0\n"a dog, on a mat",1\n"a dog, in a box"\n', 3),
        ("caption,label\na cat,\na dog, on a mat\n", 2),
        ('caption,label\na cat,0\n"a dog,\nrunning, fast",1\n', 2),
        ("label,caption\n0, a dog\n1,a cat\n", 2),
    ],
)
def test_spaces_after_commas_alone_refuse_no_table(tmp_path: Path, text: str, n_prompts: int) -> None:
    assert len(read_prompts(written(tmp_path / "a.csv", text)).prompts) == n_prompts
