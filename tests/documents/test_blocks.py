"""Every command of README and docs runs as it stands, in the order of its page, or says why it does not."""

import re
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from diffusers import StableDiffusionPipeline

from tests.audit.commands import run_json
from tests.audit.searches import build_worded_pipe
from tests.cases import slow_unless
from tests.documents.blocks import LANGUAGES, PAGES, SLOW, Block, blocks_of, run_python, run_shell, write_tools
from tests.documents.folder import ELIDED, enter, prepare_page, write_folder
from tests.paths import ROOT

BLOCKS = {page: blocks_of(page) for page in PAGES}
SMALL = {"--budget": "480", "--words-budget": "2400", "--sample": "3", "--propensity": "2", "--ascend-restarts": "1"}
"""Options whose numbers are cut, so that a toy model is done in seconds."""
OWN = {ROOT / "docs" / "scale.md": "tests/documents/test_scale.py"}
"""Pages whose blocks another test runs."""
SAID = {
    "docs/python.md": ("spike_score", "findings"),
    "docs/neurons.md": (
        "there is no neuron 1000000; take the neurons from an audit of this model",
        r"changed by 0\.\d*[1-9]",
    ),
}
"""What the Python of a page prints."""


def run_of(page: Path, *, slow: bool) -> list[Block]:
    return [block for block in BLOCKS[page] if block.is_run and block.is_slow == slow]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    """A toy pipeline whose tokenizer knows words, from which searches start. Read-only."""
    return build_worded_pipe()


@pytest.fixture(scope="module")
def prepared(pipe: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages name: toy models, prompts, images, and a finished audit. Read-only."""
    folder = tmp_path_factory.mktemp("prepared")
    write_folder(folder, pipe)
    return folder


class Words:
    """What `flashbulb` is given in place of the words of a page: small numbers, and names that only a run can tell."""

    def __init__(self) -> None:
        self.n_elided = 0

    def __call__(self, words: Sequence[str]) -> list[str]:
        given = [self.told(word) for word in words]
        for option, value in SMALL.items():
            if option in given:
                given[given.index(option) + 1] = value
        if "..." in given:
            self.n_elided += 1
            place = given.index("...")
            given[place : place + 1] = [*ELIDED, "--out", f"runs/elided-{self.n_elided}"]
        return given

    def told(self, word: str) -> str:
        """Return a word, or what this run has in place of an example: a digest, a fingerprint, a memory's number."""
        if word == "sha256:5f2c…":
            return str(run_json(Path("runs/mine"))["seal"]["digest"])
        if word == "0123456789abcdef":
            run = next(path for path in map(Path, ("runs/new", "runs/mine")) if path.is_dir())
            return str(pd.read_parquet(run / "findings.parquet")["fingerprint"].iloc[0])
        if word.endswith("/ID.json"):
            return str(min(Path(word).parent.glob("*.json")))
        return word


def allowed(words: Sequence[str]) -> set[int]:
    """The exit codes of a command that does what the page says: a verdict is one of them where it judges."""
    judges = words[0] == "gate" or "--gate" in words
    return {0, *([1] if judges else []), *([3] if "--strict" in words else [])}


def run_page(blocks: Sequence[Block], folder: Path, tools: Path, pipe: StableDiffusionPipeline) -> None:
    words_of, namespace = Words(), {"__name__": "example", "pipe": pipe}
    for block in blocks:
        if block.language == "python":
            run_python(block, namespace)
            continue
        calls = run_shell(block, folder, tools, words_of)
        assert not [(call.words, call.answer) for call in calls if call.answer.code not in allowed(call.words)]


@pytest.mark.parametrize(
    "page",
    slow_unless(
        lambda page: page not in SLOW, [page for page in PAGES if page not in OWN and run_of(page, slow=False)]
    ),
    ids=name_of,
)
def test_the_commands_of_a_page_run_in_their_order(
    page: Path,
    prepared: Path,
    tmp_path: Path,
    tools: Path,
    pipe: StableDiffusionPipeline,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # random weights
    monkeypatch.setattr("flashbulb.audit.stages.opening.examine.require_working", lambda *_, **__: None)
    folder = Path(shutil.copytree(prepared, tmp_path / "work"))
    enter(folder, monkeypatch)
    blocks = run_of(page, slow=False)
    prepare_page(blocks, folder)
    run_page(blocks, folder, tools, pipe)
    said = capsys.readouterr().out
    assert not [text for text in SAID.get(name_of(page), ()) if not re.search(text, said)]


@pytest.mark.slow
def test_the_slow_commands_run(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one folder: a later page finds what an earlier one audited."""
    monkeypatch.chdir(tmp_path)
    for page in [page for page in PAGES if page not in OWN]:
        for block in run_of(page, slow=True):
            codes = [call.answer.code for call in run_shell(block, tmp_path, tools)]
            assert codes == [int("exit code 1" in line) for line in block.text.splitlines()]


def test_every_block_is_run_or_says_why_not() -> None:
    for block in chain(*BLOCKS.values()):
        assert block.language in LANGUAGES, f"{block.place} is in {block.language or 'no language'}: write sh or python"
        marked = block.mark is None or re.fullmatch(r"(not executed|slow): \w.{8,}", block.mark)
        assert marked, f"{block.place} has the comment {block.mark!r}: write <!-- not executed: REASON -->"
        if block.language == "text":
            commands = re.findall(r"^\$? ?(?:flashbulb|pip|make|python) .*", block.text, re.MULTILINE)
            assert not commands, f"{block.place} holds commands: {commands}"
    assert sum(block.is_run for block in chain(*BLOCKS.values())) > 40


def test_every_page_of_its_own_is_run_elsewhere() -> None:
    for page, test in OWN.items():
        assert page.name in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("```sh\nls\n```\n", [(True, False)]),
        ("<!-- slow: an hour of it -->\n```sh\nls\n```\n", [(True, True)]),
        ("<!-- not executed: needs a cluster -->\n```sh\nls\n```\n", [(False, False)]),
        ("<!-- needs a cluster -->\n```sh\nls\n```\n", [(True, False)]),
        ("1. x\n\n    ```python\n    f()\n    ```\n", [(True, False)]),
        ("```text\nls\n```\n\n```python\nf()\n```\n", [(False, False), (True, False)]),
    ],
)
def test_blocks_are_read_with_their_marks(tmp_path: Path, text: str, kinds: list[tuple[bool, bool]]) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    assert [(block.is_run, block.is_slow) for block in blocks_of(page)] == kinds


@pytest.mark.parametrize(
    "text", ["flashbulb gate nowhere", "pip install x", "nosuchcommand", "flashbulb gate nowhere | cat"]
)
def test_a_block_that_fails_is_told(tools: Path, tmp_path: Path, text: str) -> None:
    block = Block(ROOT / "README.md", 1, "sh", text, None)
    with pytest.raises(AssertionError, match=r"README\.md:1 ended with"):
        run_shell(block, tmp_path, tools)
