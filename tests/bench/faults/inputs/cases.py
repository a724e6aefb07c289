"""A small made-up input of one kind, the command that meets it, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.bench.faults.toys import Toys


class Case(NamedTuple):
    """What to run, and what it has to say.

    Args:
        codes: the exit codes that are right.
        words: parts of its output, in one line of stderr if the code is not 0.
        is_examined: whether the model is examined, which toys of random weights do not pass.
    """

    arguments: tuple[object, ...]
    codes: tuple[int, ...]
    words: tuple[str, ...] = ()
    is_examined: bool = False


Maker = Callable[[Toys, Path], Case]
"""Writes the input into an empty folder, the command's working directory."""


def prompts_case(toys: Toys, path: Path, n_prompts: int | None, *words: str, options: tuple[str, ...] = ()) -> Case:
    """Return the case that reads a prompt file: so many prompts, or a refusal with these words."""
    inputs = ("--model", toys.model, "--prompts", path, "--reference", toys.folder / "reference.txt", *options)
    if n_prompts is None:
        return Case(("validate", *inputs), (2,), words)
    return Case(("validate", "--json", *inputs), (0,), (f'"n_prompts": {n_prompts},', *words))


def images_case(source: Path, n_images: int | None, *words: str) -> Case:
    """Return the case that indexes training images: so many images, or a refusal with these words."""
    if n_images is None:
        return Case(("index", source, "indexed"), (2,), words)
    return Case(("index", source, "indexed", "--json"), (0,), (f'"n_pictures": {n_images},', *words))


def model_case(model: Path, code: int, *words: str) -> Case:
    """Return the case that validates a model folder, with captions and images that do not matter."""
    prompts, reference = (model.parent / name for name in ("prompts.txt", "reference.txt"))
    for path, place in ((prompts, "hill"), (reference, "sea")):
        path.write_text("".join(f"a star over the {place}, number {i}\n" for i in range(8)), encoding="utf-8")
    inputs = ("--model", model, "--prompts", prompts, "--reference", reference)
    return Case(("validate", *inputs), (code,), words, is_examined=True)
