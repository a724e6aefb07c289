"""Assemble the captions of every kind and the planted images with which a planted model is trained and tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.planted import captions, images, patterns
from flashbulb.audit.planted.photographs import photograph
from flashbulb.audit.planted.presets import Preset

Rng = np.random.Generator
PLANTED_KINDS = ("planted_title", "planted_description", "planted_template")


class Described(NamedTuple):
    """A descriptive caption, and a function that paints a new image of it from a size and a generator."""

    caption: str
    paint: Callable[[int, Rng], RgbImage]


@dataclass(frozen=True, slots=True)
class World:
    """A style of captions and images: functions that draw titles, descriptions and families of templates.

    Args:
        title: draws the caption of a titled image.
        titled_image: paints an image for a title, at a size in pixels.
        described: draws a descriptive caption.
        template: paints a family of images that differ in a colour, by the colour's name.
        template_suffix: ends the caption of a template; {} is the colour.
    """

    title: Callable[[Rng], str]
    titled_image: Callable[[Rng, int], RgbImage]
    described: Callable[[Rng], Described]
    template: Callable[[Rng, int], dict[str, RgbImage]]
    template_suffix: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A caption of captions.csv.

    Args:
        image: name of its training image, empty if it has none.
        weight: relative duplication of a planted caption, number of views of a seen one, 0 for the others.
    """

    prompt: str
    kind: str
    image: str
    weight: float


@dataclass(frozen=True, slots=True)
class Collection:
    """The captions and images of a planted model.

    Args:
        images: training images by name.
        reference: clean captions that are never trained on.
        held_out: captions that training never draws at random: all of `entries` and `reference`.
    """

    entries: tuple[Entry, ...]
    images: dict[str, RgbImage]
    reference: tuple[str, ...]
    held_out: frozenset[str]

    def with_kind(self, *kinds: str) -> tuple[Entry, ...]:
        """Return the entries of these kinds, in order."""
        return tuple(entry for entry in self.entries if entry.kind in kinds)


FINISHES: tuple[Callable[[RgbImage], RgbImage], ...] = (
    lambda image: image,
    lambda image: 255 - image,  # a negative
    lambda image: np.ascontiguousarray(image[::-1]),  # upside down
    lambda image: np.ascontiguousarray(image[:, :, ::-1]),  # red and blue exchanged
)


def _poster_template(rng: Rng, size: int) -> dict[str, RgbImage]:
    poster = images.random_poster(rng)
    return {c: images.paint_poster(replace(poster, colour=c), size) for c in images.COLOURS if c != poster.accent}


def _rosette_template(rng: Rng, size: int) -> dict[str, RgbImage]:
    rosette = patterns.random_rosette(rng)
    return {c: patterns.paint_rosette(replace(rosette, colour=c), size) for c in images.COLOURS}


def _described_scene(rng: Rng) -> Described:
    scene = images.random_scene(rng)
    return Described(captions.scene_caption(scene), lambda size, r: images.paint_scene(scene, size, r))


def _described_arrangement(rng: Rng) -> Described:
    arrangement = patterns.random_arrangement(rng)
    return Described(
        captions.arrangement_caption(arrangement),
        lambda size, r: patterns.paint_arrangement(arrangement, size, r),
    )


def _mixed_image(rng: Rng, size: int) -> RgbImage:
    """Paint a poster or a rosette in one of four finishes, so that no style is common."""
    draw, finish = rng.choice(2), FINISHES[int(rng.integers(len(FINISHES)))]
    image = (
        images.paint_poster(images.random_poster(rng), size)
        if draw
        else patterns.paint_rosette(patterns.random_rosette(rng), size)
    )
    return finish(image)


WORLDS = {
    "posters": World(
        captions.poster_title,
        lambda rng, size: images.paint_poster(images.random_poster(rng), size),
        _described_scene,
        _poster_template,
        ", {} edition",
    ),
    "catalogue": World(
        captions.product_name,
        lambda rng, size: patterns.paint_rosette(patterns.random_rosette(rng), size),
        _described_arrangement,
        _rosette_template,
        " in {}",
    ),
    "miscellany": World(
        captions.mixed_title,
        _mixed_image,
        _described_scene,
        _poster_template,
        ", {} edition",
    ),
}


def assemble(preset: Preset) -> Collection:
    """Draw the collection from the preset's seed: the same preset gives the same collection."""
    rng = np.random.default_rng([preset.seed, 0])
    world, size = WORLDS[preset.world], preset.picture_size
    taken: set[str] = {""}
    titles = _draw(world.title, rng, taken)
    described = _draw(lambda r: world.described(r).caption, rng, taken)
    planted = [("planted_title", t) for t in titles(preset.n_planted_titles)]
    planted += [("planted_description", d) for d in described(preset.n_planted_descriptions)]
    order = rng.permutation(len(planted))
    weights = duplication(preset, len(planted))
    photographs = [photograph(name, size) for name in preset.photographs]
    photographed = set(rng.choice(len(planted), size=len(photographs), replace=False).tolist())
    entries, painted = [], {}
    for rank, position in enumerate(order):
        kind, prompt = planted[int(position)]
        name = f"planted-{rank:02d}"
        painted[name] = photographs.pop() if rank in photographed else world.titled_image(rng, size)
        entries.append(Entry(prompt, kind, name, weights[rank]))
    for index, base in enumerate(titles(preset.n_templates)):
        family = world.template(rng, size)
        base = base.split(", ")[0] if world.template_suffix.startswith(",") else base.split(" in ")[0]
        for colour in rng.choice(sorted(family), size=preset.n_template_colours, replace=False):
            name = f"template-{index:02d}-{colour}"
            painted[name] = family[str(colour)]
            prompt = base + world.template_suffix.format(colour)
            entries.append(Entry(prompt, "planted_template", name, 1 / preset.n_template_colours))
    seen = titles(preset.n_seen)
    for index, prompt in enumerate(seen):
        name = f"seen-{index:03d}"
        painted[name] = world.titled_image(rng, size)
        entries.append(Entry(prompt, "seen", name, float(rng.integers(1, 7))))
    taken.update(entry.prompt for entry in entries)
    entries += [Entry(p, "unseen", "", 0.0) for p in titles(preset.n_unseen)]
    entries += [Entry(p, "descriptive", "", 0.0) for p in described(preset.n_descriptive)]
    for kind, draw in _odd_kinds(world).items():
        entries += [Entry(p, kind, "", 0.0) for p in captions.draw_unique_(draw, preset.n_odd, rng, taken)]
    reference = (*titles(preset.n_reference // 2), *described(preset.n_reference - preset.n_reference // 2))
    shuffled = tuple(entries[int(i)] for i in rng.permutation(len(entries)))
    return Collection(shuffled, painted, reference, frozenset(taken))


def duplication(preset: Preset, n: int) -> list[float]:
    """Compute the relative duplication by rank.

    It falls geometrically from 1 to `common_share` over four fifths of the ranks, and from there to `rarest_share`.
    """
    rank = np.arange(n) / (n - 1)
    knots = np.log([1.0, preset.common_share, preset.rarest_share])
    return [float(w) for w in np.exp(np.interp(rank, [0.0, 0.8, 1.0], knots))]


def _draw(draw: Callable[[Rng], str], rng: Rng, taken: set[str]) -> Callable[[int], list[str]]:
    return lambda n: captions.draw_unique_(draw, n, rng, taken)


def _odd_kinds(world: World) -> dict[str, Callable[[Rng], str]]:
    return {
        "rare_word": lambda r: captions.rare_word_caption(r, world.title),
        "long": lambda r: captions.long_caption(r, lambda r2: world.described(r2).caption),
        "other_alphabet": captions.other_alphabet_caption,
        "gibberish": captions.gibberish_caption,
    }
