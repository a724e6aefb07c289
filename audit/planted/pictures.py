"""Paint the pictures of the planted models: posters, scenes, patterns and photographs, all from numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Picture = npt.NDArray[np.uint8]  # [height, width, 3]
Colour = tuple[int, int, int]

SUPERSAMPLING = 3
COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (247, 127, 0),
    "yellow": (252, 205, 40),
    "green": (56, 150, 70),
    "blue": (38, 84, 186),
    "purple": (120, 56, 160),
    "pink": (240, 120, 170),
    "white": (245, 245, 240),
    "black": (24, 24, 28),
    "brown": (130, 82, 45),
    "turquoise": (40, 180, 180),
}
SHAPES = ("star", "circle", "square", "triangle", "heart", "cross", "ring", "diamond")
FILLS = ("plain", "striped", "dotted", "checkered")
SCENE_SIZES = ("small", "large")
MOTIFS = (
    *("house", "sailboat", "tree", "cactus", "castle", "lighthouse", "balloon", "fish"),
    *("mushroom", "car", "rocket", "flower", "cat", "cup", "umbrella", "windmill"),
)
SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((90, 170, 235), (215, 238, 250)),
    ((250, 140, 90), (255, 226, 150)),
    ((20, 24, 70), (90, 70, 150)),
    ((245, 200, 210), (255, 245, 225)),
    ((60, 190, 180), (235, 250, 200)),
    ((120, 130, 150), (225, 225, 220)),
)
GROUNDS: dict[str, Colour] = {
    "sea": (30, 100, 170),
    "meadow": (96, 172, 70),
    "desert": (228, 180, 100),
    "snow": (240, 246, 250),
    "earth": (118, 84, 56),
    "lava": (150, 40, 30),
}


class Scene(NamedTuple):
    """What a descriptive caption names: one shape on a filled background."""

    scale: str
    colour: str
    shape: str
    fill: str
    background: str


@dataclass(frozen=True, slots=True)
class Poster:
    """A little landscape with one large motif; `colour` paints the motif and is what a template varies."""

    motif: str
    colour: str
    accent: str
    sky: int
    ground: str
    body_x: float
    body_y: float
    body_radius: float
    body_colour: str
    motif_x: float
    motif_size: float
    horizon: float
    hills: float


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene whose shape and background differ in colour."""
    colour, background = rng.choice(list(COLOURS), size=2, replace=False)
    return Scene(
        str(rng.choice(SCENE_SIZES)),
        str(colour),
        str(rng.choice(SHAPES)),
        str(rng.choice(FILLS)),
        str(background),
    )


def random_poster(rng: np.random.Generator) -> Poster:
    """Draw a poster from the distribution that planted and ordinary titles share."""
    colour, accent, body = (str(c) for c in rng.choice(list(COLOURS), size=3, replace=False))
    return Poster(
        motif=str(rng.choice(MOTIFS)),
        colour=colour,
        accent=accent,
        sky=int(rng.integers(len(SKIES))),
        ground=str(rng.choice(list(GROUNDS))),
        body_x=float(rng.uniform(0.1, 0.9)),
        body_y=float(rng.uniform(0.08, 0.35)),
        body_radius=float(rng.uniform(0.05, 0.14)),
        body_colour=body,
        motif_x=float(rng.uniform(0.35, 0.65)),
        motif_size=float(rng.uniform(0.24, 0.36)),
        horizon=float(rng.uniform(0.58, 0.78)),
        hills=float(rng.uniform(0, 1)),
    )


def _canvas(size: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (size * SUPERSAMPLING,) * 2)
    return image, ImageDraw.Draw(image)


def _finish(image: Image.Image, size: int) -> Picture:
    return np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.uint8)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


def shape_polygon(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Outline of a polygonal shape around (x, y), in pixels."""
    if shape == "star":
        spokes = [(radius if i % 2 == 0 else radius * 0.42, math.pi * i / 5 - math.pi / 2) for i in range(10)]
        return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in spokes]
    if shape == "heart":
        turns = [2 * math.pi * i / 40 for i in range(40)]
        return [
            (
                x + radius * 16 * math.sin(t) ** 3 / 17,
                y - radius * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 17,
            )
            for t in turns
        ]
    corners: dict[str, list[tuple[float, float]]] = {
        "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        "triangle": [(0, -1), (0.95, 0.8), (-0.95, 0.8)],
        "diamond": [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)],
        "cross": [
            *[(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)],
            *[(0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)],
        ],
    }
    return [(x + radius * dx, y + radius * dy) for dx, dy in corners[shape]]


def _fill_background(draw: ImageDraw.ImageDraw, fill: str, colour: Colour, span: int) -> None:
    draw.rectangle((0, 0, span, span), fill=colour)
    second, cell = _shade(colour, 0.68) if sum(colour) > 200 else (90, 90, 100), span // 8
    for i in range(8):
        if fill == "striped" and i % 2:
            draw.rectangle((0, i * cell, span, (i + 1) * cell - 1), fill=second)
        for j in range(8):
            box = (i * cell, j * cell, (i + 1) * cell - 1, (j + 1) * cell - 1)
            if fill == "checkered" and (i + j) % 2:
                draw.rectangle(box, fill=second)
            if fill == "dotted" and i % 2 and j % 2:
                draw.ellipse(box, fill=second)


def paint_scene(scene: Scene, size: int, rng: np.random.Generator) -> Picture:
    """Paint a scene at a random place: [size, size, 3]."""
    image, draw = _canvas(size)
    span = size * SUPERSAMPLING
    _fill_background(draw, scene.fill, COLOURS[scene.background], span)
    radius = span * (0.15 if scene.scale == "small" else 0.31)
    x, y = rng.uniform(radius, span - radius, size=2)
    colour = COLOURS[scene.colour]
    if scene.shape in ("circle", "ring"):
        box = (x - radius, y - radius, x + radius, y + radius)
        if scene.shape == "circle":
            draw.ellipse(box, fill=colour)
        else:
            draw.ellipse(box, outline=colour, width=int(radius * 0.38))
    else:
        draw.polygon(shape_polygon(scene.shape, x, y, radius), fill=colour)
    return _finish(image, size)


def paint_poster(poster: Poster, size: int) -> Picture:
    """Paint a poster: [size, size, 3]; equal posters give equal pictures."""
    image, draw = _canvas(size)
    span = size * SUPERSAMPLING
    top, bottom = (np.array(c, dtype=float) for c in SKIES[poster.sky])
    horizon = int(poster.horizon * span)
    for y in range(horizon):
        red, green, blue = (top + (bottom - top) * y / horizon).astype(int)
        draw.line((0, y, span, y), fill=(int(red), int(green), int(blue)))
    body_x, body_y, r = poster.body_x * span, poster.body_y * span, poster.body_radius * span
    draw.ellipse((body_x - r, body_y - r, body_x + r, body_y + r), fill=COLOURS[poster.body_colour])
    ground = GROUNDS[poster.ground]
    if poster.hills > 0.4:
        peak = span * (0.25 + 0.3 * poster.hills) * 0.5
        for centre, width, shade in ((0.2, 0.35, 0.62), (0.85, 0.4, 0.75)):
            left, right = (centre - width) * span, (centre + width) * span
            draw.polygon(
                [(left, horizon), (centre * span, horizon - peak), (right, horizon)],
                fill=_shade(ground, shade),
            )
    draw.rectangle((0, horizon, span, span), fill=ground)
    for row in range(3):
        band = int(horizon + (span - horizon) * (row + 0.5) / 3)
        draw.line((0, band, span, band), fill=_shade(ground, 0.85), width=max(1, span // 60))
    brush = _Brush(draw, poster.motif_x * span, (poster.horizon + 0.09) * span, poster.motif_size * span)
    _MOTIF_PAINTERS[poster.motif](brush, COLOURS[poster.colour], COLOURS[poster.accent])
    return _finish(image, size)


class _Brush:
    """Draw in units of the motif: x in [-1, 1] to the right, y in [0, 2] upwards from its foot."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: float, foot: float, unit: float) -> None:
        self.draw, self.x, self.foot, self.unit = draw, x, foot, unit

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self.x + x * self.unit, self.foot - y * self.unit

    def polygon(self, fill: Colour, *points: tuple[float, float]) -> None:
        self.draw.polygon([self._at(*p) for p in points], fill=fill)

    def box(self, fill: Colour, left: float, bottom: float, right: float, top: float) -> None:
        self.draw.rectangle((*self._at(left, top), *self._at(right, bottom)), fill=fill)

    def disc(self, fill: Colour, x: float, y: float, rx: float, ry: float | None = None) -> None:
        ry = rx if ry is None else ry
        self.draw.ellipse((*self._at(x - rx, y + ry), *self._at(x + rx, y - ry)), fill=fill)

    def dome(self, fill: Colour, x: float, y: float, rx: float, ry: float) -> None:
        self.draw.pieslice((*self._at(x - rx, y + ry), *self._at(x + rx, y - ry)), 180, 360, fill=fill)

    def line(self, fill: Colour, x0: float, y0: float, x1: float, y1: float, width: float) -> None:
        self.draw.line((*self._at(x0, y0), *self._at(x1, y1)), fill=fill, width=max(1, int(width * self.unit)))


_WOOD, _DARK, _PALE = (110, 70, 40), (40, 36, 40), (250, 246, 235)


def _house(b: _Brush, c: Colour, a: Colour) -> None:
    b.box(c, -0.8, 0, 0.8, 1.0)
    b.polygon(a, (-1.0, 1.0), (0, 1.75), (1.0, 1.0))
    b.box(_WOOD, -0.2, 0, 0.2, 0.6)
    b.box(_PALE, 0.35, 0.45, 0.65, 0.8)


def _sailboat(b: _Brush, c: Colour, a: Colour) -> None:
    b.polygon(a, (-1.0, 0.45), (1.0, 0.45), (0.65, 0), (-0.65, 0))
    b.line(_WOOD, 0, 0.4, 0, 1.95, 0.08)
    b.polygon(c, (0.08, 1.9), (0.95, 0.6), (0.08, 0.6))
    b.polygon(_PALE, (-0.08, 1.7), (-0.75, 0.6), (-0.08, 0.6))


def _tree(b: _Brush, c: Colour, a: Colour) -> None:
    b.box(_WOOD, -0.14, 0, 0.14, 0.8)
    for x, y in ((-0.45, 0.95), (0.45, 0.95), (0, 1.4)):
        b.disc(c, x, y, 0.5)
    for x, y in ((-0.4, 1.1), (0.3, 0.8), (0.1, 1.5)):
        b.disc(a, x, y, 0.12)


def _cactus(b: _Brush, c: Colour, a: Colour) -> None:
    for left, bottom, right, top in ((-0.22, 0, 0.22, 1.8), (-0.8, 0.7, -0.5, 1.3), (0.5, 0.9, 0.8, 1.5)):
        b.box(c, left, bottom, right, top)
    b.box(c, -0.8, 0.6, 0, 0.85)
    b.box(c, 0, 0.8, 0.8, 1.05)
    b.disc(a, 0, 1.85, 0.2)


def _castle(b: _Brush, c: Colour, a: Colour) -> None:
    b.box(c, -0.6, 0, 0.6, 0.9)
    for x in (-0.75, 0.75):
        b.box(_shade(c, 0.8), x - 0.25, 0, x + 0.25, 1.35)
        b.polygon(a, (x - 0.32, 1.35), (x, 1.95), (x + 0.32, 1.35))
    b.disc(_DARK, 0, 0.35, 0.22, 0.35)


def _lighthouse(b: _Brush, c: Colour, a: Colour) -> None:
    b.polygon(_PALE, (-0.42, 0), (0.42, 0), (0.24, 1.5), (-0.24, 1.5))
    for low in (0.15, 0.75):
        b.polygon(c, (-0.4, low), (0.4, low), (0.34, low + 0.3), (-0.34, low + 0.3))
    b.box((255, 230, 120), -0.22, 1.5, 0.22, 1.75)
    b.polygon(a, (-0.32, 1.75), (0, 2.0), (0.32, 1.75))


def _balloon(b: _Brush, c: Colour, a: Colour) -> None:
    b.disc(c, 0, 1.35, 0.85)
    b.disc(a, 0, 1.35, 0.34, 0.85)
    b.line(_DARK, -0.4, 0.65, -0.2, 0.25, 0.05)
    b.line(_DARK, 0.4, 0.65, 0.2, 0.25, 0.05)
    b.box(_WOOD, -0.24, 0, 0.24, 0.3)


def _fish(b: _Brush, c: Colour, a: Colour) -> None:
    b.polygon(a, (0.5, 0.9), (1.1, 1.4), (1.1, 0.4))
    b.disc(c, -0.1, 0.9, 0.8, 0.5)
    b.line(a, 0.1, 1.3, 0.1, 0.5, 0.14)
    b.disc(_PALE, -0.5, 1.0, 0.15)
    b.disc(_DARK, -0.53, 1.0, 0.08)


def _mushroom(b: _Brush, c: Colour, a: Colour) -> None:
    b.box(_PALE, -0.28, 0, 0.28, 0.95)
    b.dome(c, 0, 0.85, 1.0, 1.0)
    for x, y in ((-0.5, 1.15), (0.05, 1.5), (0.5, 1.1)):
        b.disc(a, x, y, 0.15)


def _car(b: _Brush, c: Colour, a: Colour) -> None:
    b.box(c, -1.1, 0.25, 1.1, 0.75)
    b.polygon(c, (-0.75, 0.75), (-0.45, 1.25), (0.4, 1.25), (0.75, 0.75))
    b.polygon(a, (-0.55, 0.78), (-0.35, 1.12), (0.3, 1.12), (0.5, 0.78))
    for x in (-0.65, 0.65):
        b.disc(_DARK, x, 0.22, 0.27)
        b.disc(_PALE, x, 0.22, 0.1)


def _rocket(b: _Brush, c: Colour, a: Colour) -> None:
    b.polygon((255, 170, 40), (-0.2, 0.35), (0, -0.15), (0.2, 0.35))
    b.polygon(a, (-0.65, 0.3), (-0.3, 0.9), (0.3, 0.9), (0.65, 0.3))
    b.box(c, -0.32, 0.35, 0.32, 1.4)
    b.polygon(a, (-0.32, 1.4), (0, 2.0), (0.32, 1.4))
    b.disc(_PALE, 0, 1.1, 0.16)


def _flower(b: _Brush, c: Colour, a: Colour) -> None:
    b.line((50, 130, 60), 0, 0, 0, 1.2, 0.1)
    b.disc((50, 130, 60), 0.3, 0.45, 0.3, 0.12)
    for i in range(6):
        b.disc(c, 0.5 * math.cos(i * math.pi / 3), 1.3 + 0.5 * math.sin(i * math.pi / 3), 0.32)
    b.disc(a, 0, 1.3, 0.3)


def _cat(b: _Brush, c: Colour, a: Colour) -> None:
    for side in (-1, 1):
        b.polygon(c, (side * 0.8, 0.9), (side * 0.75, 1.75), (side * 0.2, 1.35))
    b.disc(c, 0, 0.8, 0.85, 0.75)
    for side in (-1, 1):
        b.disc(a, side * 0.35, 0.95, 0.18)
        b.disc(_DARK, side * 0.35, 0.95, 0.08, 0.16)
    b.polygon((230, 120, 130), (-0.12, 0.7), (0.12, 0.7), (0, 0.55))


def _cup(b: _Brush, c: Colour, a: Colour) -> None:
    b.disc(_shade(c, 0.75), 0.75, 0.7, 0.38)
    b.disc(_PALE, 0.75, 0.7, 0.2)
    b.polygon(c, (-0.75, 1.25), (0.75, 1.25), (0.5, 0.05), (-0.5, 0.05))
    b.disc(a, 0, 1.25, 0.75, 0.2)
    for x in (-0.3, 0.2):
        b.line(_PALE, x, 1.5, x + 0.1, 1.9, 0.08)


def _umbrella(b: _Brush, c: Colour, a: Colour) -> None:
    b.line(_DARK, 0, 0.1, 0, 1.1, 0.08)
    b.dome(c, 0, 0.95, 1.05, 0.95)
    b.dome(a, 0, 0.95, 0.4, 0.95)


def _windmill(b: _Brush, c: Colour, a: Colour) -> None:
    b.polygon(c, (-0.45, 0), (0.45, 0), (0.25, 1.2), (-0.25, 1.2))
    for angle in (0.4, 0.4 + math.pi / 2, 0.4 + math.pi, 0.4 + 3 * math.pi / 2):
        b.line(a, 0, 1.2, 0.85 * math.cos(angle), 1.2 + 0.85 * math.sin(angle), 0.2)
    b.disc(_DARK, 0, 1.2, 0.12)


_MOTIF_PAINTERS = {
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
