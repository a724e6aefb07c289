"""Settings of every command, one file each. A setting is declared once: everything else about it follows.

A field holds its type, bounds, default and description, its `Option`, and belongs to a stage by the class in which it
stands. From it follow the option with its help, the environment variable, the key of flashbulb.toml, the entry in
run.json and the identity of the stage.
"""

from flashbulb.audit.settings.ablate import AblateSettings
from flashbulb.audit.settings.audit import (
    AuditSettings,
    DetectionSettings,
    RecoverySettings,
    Strategy,
    VerdictSettings,
    default_strategies,
)
from flashbulb.audit.settings.compare import CompareSettings
from flashbulb.audit.settings.discover import DiscoverSettings
from flashbulb.audit.settings.inputs import (
    default_run_name,
    demo_inputs,
    given_model,
    refuse_missing_model,
    resolve_inputs,
)
from flashbulb.audit.settings.localize import MOST_CONTROLS, LocalizeSettings
from flashbulb.audit.settings.option import PANELS, Option, Panel, Settings, SettingsError
from flashbulb.audit.settings.pull import PullSettings
from flashbulb.audit.settings.recording import (
    DEFAULT_DETECTORS,
    ActivationSettings,
    CandidateSettings,
    InputSettings,
    RecordingSettings,
    ScreeningSettings,
    detector_names,
)
from flashbulb.audit.settings.shared import ADDED, DescriptorName, SiteKind, TrainingImageSettings

MODELS: tuple[type[Settings], ...] = (
    AuditSettings,
    DiscoverSettings,
    LocalizeSettings,
    AblateSettings,
    CompareSettings,
    PullSettings,
)
"""The settings of each command that writes a run directory."""

__all__ = [
    "ADDED",
    "DEFAULT_DETECTORS",
    "MODELS",
    "MOST_CONTROLS",
    "PANELS",
    "AblateSettings",
    "ActivationSettings",
    "AuditSettings",
    "CandidateSettings",
    "CompareSettings",
    "DescriptorName",
    "DetectionSettings",
    "DiscoverSettings",
    "InputSettings",
    "LocalizeSettings",
    "Option",
    "Panel",
    "PullSettings",
    "RecordingSettings",
    "RecoverySettings",
    "ScreeningSettings",
    "Settings",
    "SettingsError",
    "SiteKind",
    "Strategy",
    "TrainingImageSettings",
    "VerdictSettings",
    "default_run_name",
    "default_strategies",
    "demo_inputs",
    "detector_names",
    "given_model",
    "refuse_missing_model",
    "resolve_inputs",
]
