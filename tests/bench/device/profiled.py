"""How much of a run a GPU computes: busy share, idle gaps, and the kernels that take most of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

_LONG_GAP = 100e-6


class Busy(NamedTuple):
    """Shares of the time from the first to the last kernel, and seconds.

    Args:
        busy_share: at least one kernel ran.
        copy_s: copies between host and device, which overlap kernels.
        waited_s: in gaps of 0.1 ms and more, in which nothing ran.
        longest_gap_ms: the longest of them.
    """

    span_s: float
    busy_share: float
    copy_s: float
    waited_s: float
    longest_gap_ms: float


def profile_run(run: Callable[[], object], path: Path) -> Busy:
    """Run under the profiler; writes a table of kernels to `path`."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    kernels: list[tuple[float, float]] = []
    copies, by_name = 0.0, dict[str, list[float]]()
    results: Any = profiler.profiler
    for event in results.kineto_results.events():
        if event.device_type() != DeviceType.CUDA:
            continue
        start, seconds, name = event.start_ns() * 1e-9, event.duration_ns() * 1e-9, event.name()
        by_name.setdefault(name, []).append(seconds)
        if name.startswith(("Memcpy HtoD", "Memcpy DtoH")):
            copies += seconds
        else:
            kernels.append((start, start + seconds))
    busy = _busy(sorted(kernels), copies)
    lines = [f"{name}: {value:.4f}" for name, value in busy._asdict().items()]
    lines += ["", "seconds, calls, kernel"]
    most = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:40]
    lines += [f"{sum(seconds):9.4f} {len(seconds):7d}  {name[:110]}" for name, seconds in most]
    path.write_text("\n".join(lines) + "\n")
    return busy


def _busy(kernels: list[tuple[float, float]], copies: float) -> Busy:
    first, end = kernels[0]
    idle: list[float] = []
    for start, stop in kernels:
        if start > end:
            idle.append(start - end)
        end = max(end, stop)
    span = end - first
    long = [gap for gap in idle if gap >= _LONG_GAP]
    return Busy(span, 1 - sum(idle) / span, copies, sum(long), 1000 * max(idle, default=0.0))
