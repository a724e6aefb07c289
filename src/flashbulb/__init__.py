"""Find the training images that a text-to-image diffusion model memorized, neuron by neuron.

This is the public Python API. Importing it is cheap: the first name that needs torch or diffusers imports them.
`docs/python.md` lists every name with an example.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flashbulb.audit.api.audit_model import audit_model as audit_model
    from flashbulb.audit.api.result import AuditResult as AuditResult
    from flashbulb.audit.model.families import open_denoiser as open_denoiser
    from flashbulb.audit.settings import AblateSettings as AblateSettings
    from flashbulb.audit.settings import AuditSettings as AuditSettings
    from flashbulb.audit.settings import CompareSettings as CompareSettings
    from flashbulb.audit.settings import DiscoverSettings as DiscoverSettings
    from flashbulb.audit.settings import LocalizeSettings as LocalizeSettings
    from flashbulb.audit.settings import PullSettings as PullSettings
    from flashbulb.audit.stages.ablate import run_ablation as run_ablation
    from flashbulb.audit.stages.audit import run_audit as run_audit
    from flashbulb.audit.stages.audit import run_detect as run_detect
    from flashbulb.audit.stages.audit import run_record as run_record
    from flashbulb.audit.stages.audit import run_recover as run_recover
    from flashbulb.audit.stages.calibrate import run_calibration as run_calibration
    from flashbulb.audit.stages.compare import run_comparison as run_comparison
    from flashbulb.audit.stages.discover import run_discovery as run_discovery
    from flashbulb.audit.stages.evaluate import evaluate_run as evaluate_run
    from flashbulb.audit.stages.localize import run_localization as run_localization
    from flashbulb.audit.stages.pull import run_pull as run_pull
    from flashbulb.hooks import GuidanceLayout as GuidanceLayout
    from flashbulb.hooks import NeuronSet as NeuronSet
    from flashbulb.hooks import Site as Site
    from flashbulb.hooks import ablate as ablate
    from flashbulb.hooks import capture as capture
    from flashbulb.hooks import find_sites as find_sites
    from flashbulb.hooks import load_neurons as load_neurons
    from flashbulb.hooks import patch as patch
    from flashbulb.hooks import read_activations as read_activations
    from flashbulb.hooks import record_neurons as record_neurons
    from flashbulb.hooks import save_neurons as save_neurons
    from flashbulb.hooks import site_modules as site_modules

_HOOKS = (
    *("GuidanceLayout", "NeuronSet", "Site", "ablate", "capture", "find_sites", "load_neurons"),
    *("patch", "read_activations", "record_neurons", "save_neurons", "site_modules"),
)
_MODULE_BY_NAME = {
    **dict.fromkeys(_HOOKS, "flashbulb.hooks"),
    **dict.fromkeys(
        ("AblateSettings", "AuditSettings", "CompareSettings", "DiscoverSettings", "LocalizeSettings", "PullSettings"),
        "flashbulb.audit.settings",
    ),
    **dict.fromkeys(("run_audit", "run_detect", "run_record", "run_recover"), "flashbulb.audit.stages.audit"),
    "audit_model": "flashbulb.audit.api.audit_model",
    "AuditResult": "flashbulb.audit.api.result",
    "evaluate_run": "flashbulb.audit.stages.evaluate",
    "open_denoiser": "flashbulb.audit.model.families",
    "run_calibration": "flashbulb.audit.stages.calibrate",
    "run_ablation": "flashbulb.audit.stages.ablate",
    "run_comparison": "flashbulb.audit.stages.compare",
    "run_discovery": "flashbulb.audit.stages.discover",
    "run_localization": "flashbulb.audit.stages.localize",
    "run_pull": "flashbulb.audit.stages.pull",
}

__all__ = list(_MODULE_BY_NAME)


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"flashbulb has no {name!r}; it has {', '.join(sorted(_MODULE_BY_NAME))}")
    return getattr(import_module(_MODULE_BY_NAME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_BY_NAME])
