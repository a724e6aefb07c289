"""Models with a part or a config changed, for the length of a with block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flashbulb.audit.model.examination import examine
from flashbulb.audit.model.families import open_denoiser
from tests.bench.models import MODELS

FOLDERS = {name: folder / "model" for name, folder in MODELS.items()}


@contextmanager
def with_parts(pipe: Any, **parts: Any) -> Iterator[Any]:
    own = {name: getattr(pipe, name) for name in parts}
    pipe.register_modules(**parts)
    try:
        yield pipe
    finally:
        pipe.register_modules(**own)


@contextmanager
def with_config(part: Any, **changes: Any) -> Iterator[None]:
    own = {name: part.config[name] for name in changes}
    part.register_to_config(**changes)
    try:
        yield
    finally:
        part.register_to_config(**own)


def problem_of(pipe: Any) -> str | None:
    return examine(open_denoiser(pipe)).problem
