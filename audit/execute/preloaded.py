"""Imported by the process that workers are forked from, and by nothing else: it loads the libraries once for all."""

from __future__ import annotations

from flashbulb.audit.run.quiet import quieten_libraries

quieten_libraries()

from flashbulb.audit.execute import recording as recording  # noqa: E402 (it imports the libraries)
