"""Count what any UNet evaluates, and interrupt it; count matches, and what is read from shards and tables."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from diffusers import UNet2DConditionModel
from torch.nn.modules.module import register_module_forward_hook

from flashbulb.audit.record import shards
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.reports.tables import run_tables


@contextmanager
def counted_latents(stop_after: int | None = None) -> Iterator[SimpleNamespace]:
    """Count the latents that any UNet evaluates, whoever calls it; Ctrl-C is pressed when there are more than allowed.

    A call that is stopped before the UNet runs evaluates nothing.
    """
    count = SimpleNamespace(n_latents=0)

    def add(module, args, _output):
        if isinstance(module, UNet2DConditionModel):
            count.n_latents += len(args[0])
            if stop_after is not None and count.n_latents > stop_after:
                raise KeyboardInterrupt

    handle = register_module_forward_hook(add)
    try:
        yield count
    finally:
        handle.remove()


@contextmanager
def counted_matches() -> Iterator[SimpleNamespace]:
    """Count the samples that are compared with training images."""
    count, search = SimpleNamespace(n_samples=0), TrainingImages._nearest

    def counting(images, sample):
        count.n_samples += 1
        return search(images, sample)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingImages, "_nearest", counting)
        yield count


@contextmanager
def counted_reads() -> Iterator[Counter[tuple[Path, str]]]:
    """Count how often each column of each shard is read."""
    reads: Counter[tuple[Path, str]] = Counter()
    read = shards.read_activations

    def count(paths, columns):
        reads.update((path, column) for path in paths for column in columns)
        return read(paths, columns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "read_activations", count)
        yield reads


@contextmanager
def counted_tables() -> Iterator[SimpleNamespace]:
    """Count by name how often each file is written whole, and how often each table of an audit is read or opened."""
    count = SimpleNamespace(read=Counter(), written=Counter())
    replace = os.replace

    def counting(read):
        def count_read(path, schema, **options):
            count.read[path.name] += 1
            return read(path, schema, **options)

        return count_read

    def count_written(source, target):
        count.written[Path(target).name] += 1
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("read_table", "StoredTable"):
            patch.setattr(run_tables, name, counting(getattr(run_tables, name)))
        patch.setattr(os, "replace", count_written)
        yield count
