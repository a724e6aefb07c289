"""Paint posters and scenes, the images of the posters' world, from their parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.planted.motifs import MOTIF_PAINTERS, MOTIFS, Brush, Colour, shade

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
    """The content of a descriptive caption: one shape on a filled background."""

    scale: str
    colour: str
    shape: str
    fill: str
    background: str


@dataclass(frozen=True, slots=True)
class Poster:
    """A small landscape with one large motif; a template varies `colour`, the motif's."""

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


def _finish(image: Image.Image, size: int) -> RgbImage:
    return np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.uint8)


def shape_polygon(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Compute the outline of a polygonal shape around (x, y), in pixels."""
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
    second, cell = shade(colour, 0.68) if sum(colour) > 200 else (90, 90, 100), span // 8
    for i in range(8):
        if fill == "striped" and i % 2:
            draw.rectangle((0, i * cell, span, (i + 1) * cell - 1), fill=second)
        for j in range(8):
            box = (i * cell, j * cell, (i + 1) * cell - 1, (j + 1) * cell - 1)
            if fill == "checkered" and (i + j) % 2:
                draw.rectangle(box, fill=second)
            if fill == "dotted" and i % 2 and j % 2:
                draw.ellipse(box, fill=second)


def paint_scene(scene: Scene, size: int, rng: np.random.Generator) -> RgbImage:
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


def paint_poster(poster: Poster, size: int) -> RgbImage:
    """Paint a poster: [size, size, 3]; equal posters give equal images."""
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
        for centre, width, factor in ((0.2, 0.35, 0.62), (0.85, 0.4, 0.75)):
            left, right = (centre - width) * span, (centre + width) * span
            draw.polygon(
                [(left, horizon), (centre * span, horizon - peak), (right, horizon)],
                fill=shade(ground, factor),
            )
    draw.rectangle((0, horizon, span, span), fill=ground)
    for row in range(3):
        band = int(horizon + (span - horizon) * (row + 0.5) / 3)
        draw.line((0, band, span, band), fill=shade(ground, 0.85), width=max(1, span // 60))
    brush = Brush(draw, poster.motif_x * span, (poster.horizon + 0.09) * span, poster.motif_size * span)
    MOTIF_PAINTERS[poster.motif](brush, COLOURS[poster.colour], COLOURS[poster.accent])
    return _finish(image, size)
