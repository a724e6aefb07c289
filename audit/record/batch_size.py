"""Find how many latents to give the denoiser at a time, and give fewer where memory runs out.

The size changes results by rounding only, so whatever is made with another one than before is logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import torch

from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.recorder import Recorder
from flashbulb.audit.run.shortage import free_memory, is_out_of_memory

logger = logging.getLogger(__name__)

MIN_GAIN = 1.05
"""A size twice as large is taken only if it is this much faster."""
MOST_ON_CPU, MOST = 64, 1024
"""Largest sizes that are tried. A processor's system kills a process for its memory rather than refuse it some."""
_N_TIMED, _MOST_TIMED, _ENOUGH = 3, 15, 1.0
"""Calls that are timed at a size, of which the fastest counts: more, up to the limit, where they take less than so many
seconds together. A machine that others use as well slows single calls down."""


def find_batch_size(
    recorder_of: Callable[[int], Recorder], prompts: Sequence[Prompt], n_seeds: int, device: torch.device
) -> int:
    """Return the latents per call with which prompts are recorded fastest, among sizes that fit into memory.

    Args:
        recorder_of: makes a recorder of a size.
        prompts: some of those to record; sizes beyond all of them are not tried.
    """
    most = min(MOST_ON_CPU if device.type == "cpu" else MOST, len(prompts) * n_seeds)

    def seconds_of(size: int) -> float:
        recorder = recorder_of(size)
        texts = [prompt.text for prompt in prompts[: max(1, size // n_seeds)]]
        return min(_timed(recorder, texts)) / len(texts)

    size = grow(seconds_of, n_seeds, most)
    logger.info("%d latents per call of the denoiser, chosen by speed", size)
    return size


def grow(seconds_of: Callable[[int], float], first: int, most: int) -> int:
    """Double a size as long as that makes a prompt faster by `MIN_GAIN` and memory lasts; halve it until it fits.

    Args:
        seconds_of: seconds a prompt at a size; an error where memory runs out.
    """
    size, seconds = first, _if_it_fits(seconds_of, first)
    while seconds is None and size > 1:
        size //= 2
        seconds = _if_it_fits(seconds_of, size)
    if seconds is None or size < first:
        return size
    while 2 * size <= most:
        larger = _if_it_fits(seconds_of, 2 * size)
        if larger is None or larger * MIN_GAIN > seconds:
            break
        size, seconds = 2 * size, larger
    return size


def _timed(recorder: Recorder, texts: Sequence[str]) -> list[float]:
    seconds: list[float] = []
    while len(seconds) < _N_TIMED or (len(seconds) < _MOST_TIMED and sum(seconds) < _ENOUGH):
        started = time.perf_counter()
        _, encoded = recorder.prompt_sites.read(texts)
        recorder.record_step_sites(encoded)
        seconds.append(time.perf_counter() - started)
    return seconds


def _if_it_fits(seconds_of: Callable[[int], float], size: int) -> float | None:
    try:
        return seconds_of(size)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    free_memory()
    return None
