"""Every Python example of the documentation runs."""

import re
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_examples_on_neurons_run_in_their_order(
    toy_pipe: StableDiffusionPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    page = DOCS / "neurons.md"
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "example", "pipe": toy_pipe}
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(page), "exec"), namespace)  # errors name the line of the page
    said = capsys.readouterr().out
    assert "there is no neuron 1000000; take the neurons from an audit of this model" in said
    assert float(re.search(r"changed by (\S+)", said)[1]) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["levers.json"]
