"""A page, parsed as strictly as a parser can."""

from collections.abc import Iterator
from typing import Any

import html5lib

HTML = "{http://www.w3.org/1999/xhtml}"


def parsed(page: str) -> Any:
    """Parse the page as a browser does, but strictly: what a browser would repair is an error."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=True).parse(page)


def texts(element: Any) -> str:
    return " ".join(" ".join(element.itertext()).split())


def attributes(page: str, name: str) -> Iterator[str]:
    return (element.get(name) for element in parsed(page).iter() if element.get(name) is not None)


def cards(page: str) -> list[Any]:
    return [e for e in parsed(page).iter(f"{HTML}li") if "card" in e.get("class", "").split()]
