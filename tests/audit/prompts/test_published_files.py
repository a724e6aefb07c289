"""The published files of prompts are read completely, where they lie beside the repository."""

import string

import pytest

from flashbulb.audit.prompts.prompt_set import read_prompts
from tests.audit.prompts.files import give_stdin, texts_of
from tests.paths import ROOT

REAL_FILES = ROOT.parent / "shared" / "data" / "prompts"


@pytest.mark.parametrize(
    ("name", "n_rows", "text_column"),
    [
        ("nemo_memorized_laion_prompts.csv", 500, "Caption"),
        ("nemo_unmemorized_laion_prompts.csv", 500, "Caption"),
        ("wen_sdv1_500_memorized.jsonl", 500, "caption"),
        ("jeon_sd2_mem.jsonl", 219, "caption"),
        ("jeon_sd1_nmem.txt", 500, None),
    ],
)
def test_published_files_are_read_completely(
    monkeypatch: pytest.MonkeyPatch, name: str, n_rows: int, text_column: str | None
) -> None:
    path = REAL_FILES / name
    if not path.exists():
        pytest.skip("the published prompt files are not beside the repository")
    prompts = read_prompts(str(path))
    assert (prompts.n_rows, prompts.n_empty, prompts.text_column) == (n_rows, 0, text_column)
    give_stdin(monkeypatch, path.read_bytes())
    assert texts_of(read_prompts("-")) == texts_of(prompts)


def test_the_published_lists_of_the_same_prompts_give_the_same_ids() -> None:
    paths = [REAL_FILES / name for name in ("nemo_memorized_laion_prompts.csv", "wen_sdv1_500_memorized.jsonl")]
    if not all(path.exists() for path in paths):
        pytest.skip("the published prompt files are not beside the repository")
    nemo, wen = ({p.prompt_id for p in read_prompts(str(path)).prompts} for path in paths)
    assert len(nemo & wen) > 450
    assert all(len(i) == 16 and set(i) <= set(string.hexdigits) for i in nemo)
