"""The `engram` command: a file for each group of commands; importing them adds them to `app`."""

from audit.cli import auditing, causes, gating, localizing, looking, planting, reading, reporting, searching, staging
from audit.cli.app import app, main

__all__ = [
    "app",
    "auditing",
    "causes",
    "gating",
    "localizing",
    "looking",
    "main",
    "planting",
    "reading",
    "reporting",
    "searching",
    "staging",
]
