"""Write prompt files and read what becomes of them."""

from pathlib import Path

import pytest

from flashbulb.audit.prompts.prompt_set import PromptFileError, PromptSet, read_prompts


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
