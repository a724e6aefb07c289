"""Recovery strategies: each is one way to bring a memorized image back.

A strategy is a file of this package that defines `STRATEGY`, a class that answers what `Strategy` of
`flashbulb.audit.recover.ladder` asks; no other registration is needed. The command line lists strategies without torch,
so the file imports torch, and what needs it, inside the functions that compute.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashbulb.audit.recover.ladder import Strategy


def find_strategies() -> dict[str, type[Strategy]]:
    """Return every strategy of this package, by name, in the order of the ladder."""
    modules = [importlib.import_module(module.name) for module in pkgutil.iter_modules(__path__, f"{__name__}.")]
    found: list[type[Strategy]] = [module.STRATEGY for module in modules if hasattr(module, "STRATEGY")]
    return {strategy.name: strategy for strategy in sorted(found, key=lambda strategy: strategy.place)}
