"""What every page shares: the environment of its template, its style with the colours of both themes, and hashes."""

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.figures.drawing import DARK, LIGHT
from flashbulb.reports.page.glossary import link_term
from flashbulb.reports.views.site_names import short_site
from flashbulb.reports.views.text import visible_text

_TEMPLATES = Path(__file__).parents[1] / "templates"


@cache
def template_environment() -> Environment:
    """Return the environment that escapes every value and refuses unknown names. It compiles each template once."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible_text,
        "short_site": short_site,
        "number": _number_text,
        "counted": count_text,
        "term": link_term,
    }
    return environment


def page_style() -> str:
    """Return the style sheet; its colours are CSS variables, and readers who prefer a dark page get dark ones."""
    light, dark = (";".join(f"--{name}:{color}" for name, color in palette.items()) for palette in (LIGHT, DARK))
    theme = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return theme + read_template("report.css")


def read_template(name: str) -> str:
    """Return the text of a file beside the templates."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def csp_hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy allows an inline script or style."""
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _number_text(value: float | None) -> str:
    """Write three significant digits, or a dash if the value is unknown."""
    return "–" if value is None else f"{value:.3g}"
