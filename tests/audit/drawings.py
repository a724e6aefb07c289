"""Figures that audits of toy models share: drawing takes more than half the time of such an audit.

A figure depends on its data alone, as tests of the figures show, so the same data is drawn once.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from flashbulb.audit.stages import detect
from flashbulb.audit.stages.results import finish
from flashbulb.reports.page import figures

_SVG = "score_distributions calibration text_null spike_heatmap recovery_curves neuron_groups".split()
_drawn: dict[tuple[str, bytes], Any] = {}


@contextmanager
def drawn_once() -> Iterator[None]:
    """Draw no figure whose data was drawn before."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _SVG:
            patch.setattr(figures, name, _remember_svg(getattr(figures, name)))
        for module, name in ((detect, "score_histogram"), (finish, "evidence_panel")):
            patch.setattr(module, name, _remember_png(getattr(module, name)))
        yield


def _remember_svg(draw: Callable[..., str]) -> Callable[..., str]:
    @wraps(draw)
    def remembered(*args: Any, **kwargs: Any) -> str:
        key = draw.__name__, pickle.dumps((_content(args), _content(list(kwargs.items()))))
        if key not in _drawn:
            _drawn[key] = draw(*args, **kwargs)
        return _drawn[key]

    return remembered


def _remember_png(draw: Callable[..., None]) -> Callable[..., None]:
    @wraps(draw)
    def remembered(*args: Any) -> None:
        *data, path = args
        key = draw.__name__, pickle.dumps(_content(data))
        if key in _drawn:
            path.write_bytes(_drawn[key])
        else:
            draw(*args)
            _drawn[key] = path.read_bytes()

    return remembered


def _content(value: Any) -> Any:
    """Data without identity: files by their bytes, records by their fields."""
    if isinstance(value, Path):
        return value.read_bytes()
    if isinstance(value, list | tuple):
        return [_content(item) for item in value]
    if is_dataclass(value):
        return [_content(getattr(value, field.name)) for field in fields(value)]
    return value
