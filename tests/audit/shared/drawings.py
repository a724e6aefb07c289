"""Figures that audits of toy models share: drawing takes more than half the time of such an audit.

Data of the same shape is drawn once, with the values of the audit that came first. That a figure shows the values it is
given is tested with the figures, in tests/reports/figures and tests/reports/drawings.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import wraps
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from flashbulb.audit.stages import ablate, detect, evaluate, sweep
from flashbulb.audit.stages.results import discovery, finish, localization, pull
from flashbulb.reports.page import figures
from flashbulb.reports.page import sweep as sweep_page

_SVG: tuple[tuple[ModuleType, str], ...] = (
    *((figures, name) for name in ("score_distributions", "calibration", "text_null", "spike_heatmap")),
    *((figures, name) for name in ("recovery_curves", "neuron_groups")),
    (sweep_page, "sweep_svg"),
)
_PNG: tuple[tuple[ModuleType, str], ...] = (
    (ablate, "ablation_panel"),
    (detect, "score_histogram"),
    (discovery, "discovery_curves"),
    *((module, "evidence_panel") for module in (discovery, finish, pull)),
    *((evaluate, name) for name in ("roc_figure", "score_distributions")),
    *((localization, name) for name in ("localization_panel", "layer_map")),
    (sweep, "write_sweep_figure"),
)
_drawn: dict[tuple[str, bytes], Any] = {}


@contextmanager
def drawn_once() -> Iterator[None]:
    """Draw no figure whose data has the shape of data drawn before."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in _SVG:
            patch.setattr(module, name, _remember_svg(getattr(module, name)))
        for module, name in _PNG:
            patch.setattr(module, name, _remember_png(getattr(module, name)))
        yield


def _remember_svg(draw: Callable[..., str]) -> Callable[..., str]:
    @wraps(draw)
    def remembered(*args: Any, **kwargs: Any) -> str:
        key = draw.__qualname__, pickle.dumps((_shape(args), _shape(list(kwargs.items()))))
        if key not in _drawn:
            _drawn[key] = draw(*args, **kwargs)
        return _drawn[key]

    return remembered


def _remember_png(draw: Callable[..., None]) -> Callable[..., None]:
    @wraps(draw)
    def remembered(*args: Any) -> None:
        *data, path = args
        written = path / data[0].panel if path.is_dir() else path
        key = draw.__qualname__, pickle.dumps(_shape(data))
        if key in _drawn:
            written.write_bytes(_drawn[key])
        else:
            draw(*args)
            _drawn[key] = written.read_bytes()

    return remembered


def _shape(value: Any) -> Any:
    """Data without its measured values: texts, counts and images stay."""
    if isinstance(value, Path):
        return value.read_bytes()
    if isinstance(value, float | np.floating):
        return isfinite(value)
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str
    if isinstance(value, dict):
        return [_shape(item) for item in value.items()]
    if isinstance(value, list | tuple):
        return [_shape(item) for item in value]
    if is_dataclass(value):
        return [_shape(getattr(value, field.name)) for field in fields(value)]
    return value
