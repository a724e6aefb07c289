"""The `flashbulb` command, one file per group of commands. Importing a file adds its commands to `app`."""

from flashbulb.audit.cli import (
    ablate,
    audit,
    compare,
    discover,
    gate,
    index_runs,
    inspection,
    localize,
    plant,
    planted,
    pull,
    reference,
    report,
    show,
    stages,
    sweep,
    verify,
)
from flashbulb.audit.cli.app import app, main

__all__ = [
    "ablate",
    "app",
    "audit",
    "compare",
    "discover",
    "gate",
    "index_runs",
    "inspection",
    "localize",
    "main",
    "plant",
    "planted",
    "pull",
    "reference",
    "report",
    "show",
    "stages",
    "sweep",
    "verify",
]
