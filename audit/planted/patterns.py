"""Paint the images of the catalogue's world: rosettes for product names, counted marks for descriptions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.planted.images import COLOURS, SUPERSAMPLING, shape_polygon

NUMBERS = ("one", "two", "three", "four")
MARKS = ("dots", "stars", "diamonds", "squares")
RELATIONS = ("above", "below", "left of", "right of")
PAPERS = ((250, 246, 235), (225, 235, 245), (60, 60, 80))


class Arrangement(NamedTuple):
    """The content of a descriptive caption: counted marks beside a bar."""

    number: str
    colour: str
    mark: str
    relation: str
    bar_colour: str


@dataclass(frozen=True, slots=True)
class Rosette:
    """A tile with rotational symmetry; a template varies `colour`, its centre's."""

    colour: str
    paper: str
    fold: int
    turn: float
    rings: tuple[tuple[str, str, float], ...]  # (form, colour, radius as a share of the half side)


def random_arrangement(rng: np.random.Generator) -> Arrangement:
    """Draw an arrangement whose marks and bar differ in colour."""
    colour, bar = rng.choice(list(COLOURS), size=2, replace=False)
    choices = (str(rng.choice(options)) for options in (NUMBERS, MARKS, RELATIONS))
    number, mark, relation = choices
    return Arrangement(number, str(colour), mark, relation, str(bar))


def random_rosette(rng: np.random.Generator) -> Rosette:
    """Draw a rosette from the distribution that planted and ordinary product names share."""
    colours = [str(c) for c in rng.choice(list(COLOURS), size=6, replace=False)]
    radii = np.sort(rng.uniform(0.35, 1.1, size=4))[::-1]
    forms = [str(f) for f in rng.choice(["petals", "star", "disc", "beads"], size=4)]
    rings = tuple((form, colour, float(r)) for form, colour, r in zip(forms, colours[2:], radii, strict=True))
    return Rosette(colours[0], colours[1], int(rng.integers(3, 10)), float(rng.uniform(0, math.pi)), rings)


def paint_arrangement(arrangement: Arrangement, size: int, rng: np.random.Generator) -> RgbImage:
    """Paint counted marks beside a bar on a random paper: [size, size, 3]."""
    span = size * SUPERSAMPLING
    image = Image.new("RGB", (span, span), PAPERS[int(rng.integers(len(PAPERS)))])
    draw = ImageDraw.Draw(image)
    n_marks = NUMBERS.index(arrangement.number) + 1
    across = arrangement.relation in ("above", "below")
    first = arrangement.relation in ("above", "left of")
    marks_at, bar_at = (0.3, 0.72) if first else (0.7, 0.28)
    half = span * 0.07
    bar = (span * 0.1, span * bar_at - half, span * 0.9, span * bar_at + half)
    draw.rectangle(bar if across else (bar[1], bar[0], bar[3], bar[2]), fill=COLOURS[arrangement.bar_colour])
    start = rng.uniform(0.08, 0.92 - 0.21 * n_marks)
    for i in range(n_marks):
        along, radius = span * (start + 0.21 * (i + 0.5)), span * 0.095
        x, y = (along, span * marks_at) if across else (span * marks_at, along)
        if arrangement.mark == "dots":
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[arrangement.colour])
        else:
            outline = shape_polygon(arrangement.mark.rstrip("s"), x, y, radius)
            draw.polygon(outline, fill=COLOURS[arrangement.colour])
    return np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.uint8)


def paint_rosette(rosette: Rosette, size: int) -> RgbImage:
    """Paint a rosette: [size, size, 3]; equal rosettes give equal images."""
    span = size * SUPERSAMPLING
    image = Image.new("RGB", (span, span), COLOURS[rosette.paper])
    draw = ImageDraw.Draw(image)
    centre = span / 2
    for form, colour, share in rosette.rings:
        radius = share * centre
        if form == "disc":
            draw.ellipse((centre - radius, centre - radius, centre + radius, centre + radius), fill=COLOURS[colour])
        elif form == "star":
            angles = [rosette.turn + math.pi * i / rosette.fold for i in range(2 * rosette.fold)]
            points = [(radius if i % 2 == 0 else radius * 0.55, angle) for i, angle in enumerate(angles)]
            draw.polygon(
                [(centre + r * math.cos(a), centre + r * math.sin(a)) for r, a in points],
                fill=COLOURS[colour],
            )
        else:
            away, bead = (0.62, 0.38) if form == "petals" else (0.85, 0.15)
            for i in range(rosette.fold):
                angle = rosette.turn + 2 * math.pi * i / rosette.fold
                x, y = centre + away * radius * math.cos(angle), centre + away * radius * math.sin(angle)
                b = bead * radius
                draw.ellipse((x - b, y - b, x + b, y + b), fill=COLOURS[colour])
    heart = 0.3 * centre
    draw.ellipse((centre - heart, centre - heart, centre + heart, centre + heart), fill=COLOURS[rosette.colour])
    return np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.uint8)
