"""Paint the motifs of the posters, such as house, sailboat and tree, each in two colours."""

from __future__ import annotations

import math

from PIL import ImageDraw

Colour = tuple[int, int, int]


def shade(colour: Colour, factor: float) -> Colour:
    """Darken a colour (factor below 1) or lighten it."""
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


class Brush:
    """Draw in units of the motif: x in [-1, 1] to the right, y in [0, 2] upwards from its foot."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: float, foot: float, unit: float) -> None:
        self.draw, self.x, self.foot, self.unit = draw, x, foot, unit

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self.x + x * self.unit, self.foot - y * self.unit

    def polygon(self, fill: Colour, *points: tuple[float, float]) -> None:
        """Fill the outline through these points."""
        self.draw.polygon([self._at(*p) for p in points], fill=fill)

    def box(self, fill: Colour, left: float, bottom: float, right: float, top: float) -> None:
        """Fill a rectangle."""
        self.draw.rectangle((*self._at(left, top), *self._at(right, bottom)), fill=fill)

    def disc(self, fill: Colour, x: float, y: float, rx: float, ry: float | None = None) -> None:
        """Fill a circle, or an ellipse with two radii."""
        ry = rx if ry is None else ry
        self.draw.ellipse((*self._at(x - rx, y + ry), *self._at(x + rx, y - ry)), fill=fill)

    def dome(self, fill: Colour, x: float, y: float, rx: float, ry: float) -> None:
        """Fill the upper half of an ellipse."""
        self.draw.pieslice((*self._at(x - rx, y + ry), *self._at(x + rx, y - ry)), 180, 360, fill=fill)

    def line(self, fill: Colour, x0: float, y0: float, x1: float, y1: float, width: float) -> None:
        """Draw a line, its width in units."""
        self.draw.line((*self._at(x0, y0), *self._at(x1, y1)), fill=fill, width=max(1, int(width * self.unit)))


_WOOD, _DARK, _PALE = (110, 70, 40), (40, 36, 40), (250, 246, 235)


def _house(b: Brush, c: Colour, a: Colour) -> None:
    b.box(c, -0.8, 0, 0.8, 1.0)
    b.polygon(a, (-1.0, 1.0), (0, 1.75), (1.0, 1.0))
    b.box(_WOOD, -0.2, 0, 0.2, 0.6)
    b.box(_PALE, 0.35, 0.45, 0.65, 0.8)


def _sailboat(b: Brush, c: Colour, a: Colour) -> None:
    b.polygon(a, (-1.0, 0.45), (1.0, 0.45), (0.65, 0), (-0.65, 0))
    b.line(_WOOD, 0, 0.4, 0, 1.95, 0.08)
    b.polygon(c, (0.08, 1.9), (0.95, 0.6), (0.08, 0.6))
    b.polygon(_PALE, (-0.08, 1.7), (-0.75, 0.6), (-0.08, 0.6))


def _tree(b: Brush, c: Colour, a: Colour) -> None:
    b.box(_WOOD, -0.14, 0, 0.14, 0.8)
    for x, y in ((-0.45, 0.95), (0.45, 0.95), (0, 1.4)):
        b.disc(c, x, y, 0.5)
    for x, y in ((-0.4, 1.1), (0.3, 0.8), (0.1, 1.5)):
        b.disc(a, x, y, 0.12)


def _cactus(b: Brush, c: Colour, a: Colour) -> None:
    for left, bottom, right, top in ((-0.22, 0, 0.22, 1.8), (-0.8, 0.7, -0.5, 1.3), (0.5, 0.9, 0.8, 1.5)):
        b.box(c, left, bottom, right, top)
    b.box(c, -0.8, 0.6, 0, 0.85)
    b.box(c, 0, 0.8, 0.8, 1.05)
    b.disc(a, 0, 1.85, 0.2)


def _castle(b: Brush, c: Colour, a: Colour) -> None:
    b.box(c, -0.6, 0, 0.6, 0.9)
    for x in (-0.75, 0.75):
        b.box(shade(c, 0.8), x - 0.25, 0, x + 0.25, 1.35)
        b.polygon(a, (x - 0.32, 1.35), (x, 1.95), (x + 0.32, 1.35))
    b.disc(_DARK, 0, 0.35, 0.22, 0.35)


def _lighthouse(b: Brush, c: Colour, a: Colour) -> None:
    b.polygon(_PALE, (-0.42, 0), (0.42, 0), (0.24, 1.5), (-0.24, 1.5))
    for low in (0.15, 0.75):
        b.polygon(c, (-0.4, low), (0.4, low), (0.34, low + 0.3), (-0.34, low + 0.3))
    b.box((255, 230, 120), -0.22, 1.5, 0.22, 1.75)
    b.polygon(a, (-0.32, 1.75), (0, 2.0), (0.32, 1.75))


def _balloon(b: Brush, c: Colour, a: Colour) -> None:
    b.disc(c, 0, 1.35, 0.85)
    b.disc(a, 0, 1.35, 0.34, 0.85)
    b.line(_DARK, -0.4, 0.65, -0.2, 0.25, 0.05)
    b.line(_DARK, 0.4, 0.65, 0.2, 0.25, 0.05)
    b.box(_WOOD, -0.24, 0, 0.24, 0.3)


def _fish(b: Brush, c: Colour, a: Colour) -> None:
    b.polygon(a, (0.5, 0.9), (1.1, 1.4), (1.1, 0.4))
    b.disc(c, -0.1, 0.9, 0.8, 0.5)
    b.line(a, 0.1, 1.3, 0.1, 0.5, 0.14)
    b.disc(_PALE, -0.5, 1.0, 0.15)
    b.disc(_DARK, -0.53, 1.0, 0.08)


def _mushroom(b: Brush, c: Colour, a: Colour) -> None:
    b.box(_PALE, -0.28, 0, 0.28, 0.95)
    b.dome(c, 0, 0.85, 1.0, 1.0)
    for x, y in ((-0.5, 1.15), (0.05, 1.5), (0.5, 1.1)):
        b.disc(a, x, y, 0.15)


def _car(b: Brush, c: Colour, a: Colour) -> None:
    b.box(c, -1.1, 0.25, 1.1, 0.75)
    b.polygon(c, (-0.75, 0.75), (-0.45, 1.25), (0.4, 1.25), (0.75, 0.75))
    b.polygon(a, (-0.55, 0.78), (-0.35, 1.12), (0.3, 1.12), (0.5, 0.78))
    for x in (-0.65, 0.65):
        b.disc(_DARK, x, 0.22, 0.27)
        b.disc(_PALE, x, 0.22, 0.1)


def _rocket(b: Brush, c: Colour, a: Colour) -> None:
    b.polygon((255, 170, 40), (-0.2, 0.35), (0, -0.15), (0.2, 0.35))
    b.polygon(a, (-0.65, 0.3), (-0.3, 0.9), (0.3, 0.9), (0.65, 0.3))
    b.box(c, -0.32, 0.35, 0.32, 1.4)
    b.polygon(a, (-0.32, 1.4), (0, 2.0), (0.32, 1.4))
    b.disc(_PALE, 0, 1.1, 0.16)


def _flower(b: Brush, c: Colour, a: Colour) -> None:
    b.line((50, 130, 60), 0, 0, 0, 1.2, 0.1)
    b.disc((50, 130, 60), 0.3, 0.45, 0.3, 0.12)
    for i in range(6):
        b.disc(c, 0.5 * math.cos(i * math.pi / 3), 1.3 + 0.5 * math.sin(i * math.pi / 3), 0.32)
    b.disc(a, 0, 1.3, 0.3)


def _cat(b: Brush, c: Colour, a: Colour) -> None:
    for side in (-1, 1):
        b.polygon(c, (side * 0.8, 0.9), (side * 0.75, 1.75), (side * 0.2, 1.35))
    b.disc(c, 0, 0.8, 0.85, 0.75)
    for side in (-1, 1):
        b.disc(a, side * 0.35, 0.95, 0.18)
        b.disc(_DARK, side * 0.35, 0.95, 0.08, 0.16)
    b.polygon((230, 120, 130), (-0.12, 0.7), (0.12, 0.7), (0, 0.55))


def _cup(b: Brush, c: Colour, a: Colour) -> None:
    b.disc(shade(c, 0.75), 0.75, 0.7, 0.38)
    b.disc(_PALE, 0.75, 0.7, 0.2)
    b.polygon(c, (-0.75, 1.25), (0.75, 1.25), (0.5, 0.05), (-0.5, 0.05))
    b.disc(a, 0, 1.25, 0.75, 0.2)
    for x in (-0.3, 0.2):
        b.line(_PALE, x, 1.5, x + 0.1, 1.9, 0.08)


def _umbrella(b: Brush, c: Colour, a: Colour) -> None:
    b.line(_DARK, 0, 0.1, 0, 1.1, 0.08)
    b.dome(c, 0, 0.95, 1.05, 0.95)
    b.dome(a, 0, 0.95, 0.4, 0.95)


def _windmill(b: Brush, c: Colour, a: Colour) -> None:
    b.polygon(c, (-0.45, 0), (0.45, 0), (0.25, 1.2), (-0.25, 1.2))
    for angle in (0.4, 0.4 + math.pi / 2, 0.4 + math.pi, 0.4 + 3 * math.pi / 2):
        b.line(a, 0, 1.2, 0.85 * math.cos(angle), 1.2 + 0.85 * math.sin(angle), 0.2)
    b.disc(_DARK, 0, 1.2, 0.12)


MOTIF_PAINTERS = {
    "house": _house,
    "sailboat": _sailboat,
    "tree": _tree,
    "cactus": _cactus,
    "castle": _castle,
    "lighthouse": _lighthouse,
    "balloon": _balloon,
    "fish": _fish,
    "mushroom": _mushroom,
    "car": _car,
    "rocket": _rocket,
    "flower": _flower,
    "cat": _cat,
    "cup": _cup,
    "umbrella": _umbrella,
    "windmill": _windmill,
}
MOTIFS = tuple(MOTIF_PAINTERS)
