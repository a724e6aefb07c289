"""Read SVG figures back: elements, text, ids and embedded images."""

import base64
import io
import re
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
from PIL import Image

from flashbulb.reports.figures.drawing import LIGHT

HARMLESS = {"svg", "g", "defs", "path", "use", "clipPath", "rect", "text", "image", "title"}
_COLORS = {"none", *(f"var(--{name}, {color})" for name, color in LIGHT.items())}

HOSTILE = [
    "<script>alert(1)</script>",
    "]]> --> <!-- <![CDATA[",
    "$x^2$ \\frac{1}{$",
    "& &amp; &#60;b&#62; \"quoted' = x",
    "\u202eright to left\u2066\u200f",
    "\x00\x1b[31m\x07\r\n\t\x9b\ud800\ufffe",
    "猫" * 300,
    "x" * 10_000,
    "",
    " ",
]


class _Tags(HTMLParser):
    """Count what an HTML parser sees as elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1


def parsed(svg: str) -> ET.Element:
    """Parse a figure and check what must hold for every figure."""
    root = ET.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
        check_element(element)
    as_html = _Tags()
    as_html.feed(svg)
    assert as_html.tags == Counter(element.tag.lower() for element in root.iter())
    assert root.tag == "svg"
    assert root.get("width") == "100%"
    assert root.get("height") is None
    assert root.get("role") == "img"
    assert root.attrib["aria-label"]
    assert ids_used(root) == {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    return root


def check_element(element: ET.Element) -> None:
    assert element.tag in HARMLESS
    assert not {"style", "class", "font-family"} & set(element.attrib)
    assert not [key for key in element.attrib if key.startswith("on") or "}" in key]
    assert element.get("href", "#").startswith(("#", "data:image/png;base64,"))
    assert {element.get("fill", "none"), element.get("stroke", "none")} <= _COLORS
    assert "nan" not in " ".join(value for key, value in element.attrib.items() if key in {"d", "x", "y"}).lower()


def ids_used(root: ET.Element) -> set[str]:
    values = [value for element in root.iter() for value in element.attrib.values()]
    clips = {name for value in values for name in re.findall(r"url\(#(.+?)\)", value)}
    return clips | {value[1:] for element in root.iter("use") for value in [element.attrib["href"]]}


def words(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter("text")]


def images(svg: str) -> list[npt.NDArray[np.uint8]]:
    """The embedded images in order, [row, column, 4]."""
    found = [element.attrib["href"].partition(",")[2] for element in parsed(svg).iter("image")]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(image))).convert("RGBA")) for image in found]


def painted(svg: str, name: str) -> int:
    """Count the elements, text excepted, that are filled with a colour of the palette."""
    return sum(
        element.get("fill", "").startswith(f"var(--{name},") for element in parsed(svg).iter() if element.tag != "text"
    )
