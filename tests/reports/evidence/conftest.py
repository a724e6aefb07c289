"""An audit that leaks, and its annex read part by part."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import html5lib
import pytest

from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.evidence.annex import build_annex
from flashbulb.reports.evidence.context import ReleaseContext
from flashbulb.reports.evidence.document import Annex, Section, Table
from flashbulb.reports.evidence.write import annex_html
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.page.labels import Labels
from tests.reports.pages import write_illustrated

TODAY = date(2026, 6, 1)


@pytest.fixture(scope="session")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two recovered images; tests must not change it."""
    return write_illustrated(tmp_path_factory.mktemp("leaking") / "run")


def annex_of(
    run: Path, *, redact: bool = False, changes: Mapping[str, Any] = MappingProxyType({}), **stated: str
) -> Annex:
    """Return the annex of a run, after `changes` of its record."""
    checked = load_checked(run)
    checked = checked._replace(record=replace(checked.record, **changes))
    report = judge(checked, Policy(), (), None, new_only=False, today=TODAY)
    labels = Labels(redact, run / "evidence.html")
    return build_annex(checked, report, ReleaseContext(**stated), {"dtype": "float32"}, labels, TODAY)


def section(annex: Annex, title: str) -> Section:
    (found,) = (section for section in annex.sections if section.title.startswith(title))
    return found


def rows(annex: Annex, title: str) -> dict[Any, tuple[Any, ...]]:
    """Rows of all tables of a section by their first cell."""
    tables = (block for block in section(annex, title).blocks if isinstance(block, Table))
    return {row[0]: row[1:] for table in tables for row in table.rows}


def plain(annex: Annex) -> str:
    """All text of the page, with single blanks."""
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(annex_html(annex))
    return " ".join(" ".join(tree.find("body").itertext()).split())
