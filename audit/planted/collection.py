"""Assemble what a planted model is trained on and judged by: captions of every kind and the planted pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from audit.planted import captions, patterns, pictures
from audit.planted.photographs import photograph
from audit.planted.pictures import Picture
from audit.planted.presets import Preset

Rng = np.random.Generator
PLANTED_KINDS = ("planted_title", "planted_description", "planted_template")


class Described(NamedTuple):
    """A descriptive caption and a way to paint a new picture of it."""

    caption: str
    paint: Callable[[int, Rng], Picture]


@dataclass(frozen=True, slots=True)
class World:
    """One style of captions and pictures: how titles, descriptions and template families are drawn."""

    title: Callable[[Rng], str]
    titled_picture: Callable[[Rng, int], Picture]
    described: Callable[[Rng], Described]
    template: Callable[[Rng, int], dict[str, Picture]]  # colour word -> picture
    template_suffix: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One caption of captions.csv; `picture` names its training picture, `weight` its relative duplication."""

    prompt: str
    kind: str
    picture: str
    weight: float


@dataclass(frozen=True, slots=True)
class Collection:
    """All captions, the planted pictures by name, and the reference captions (clean, never trained on)."""

    entries: tuple[Entry, ...]
    pictures: dict[str, Picture]
    reference: tuple[str, ...]
    held_out: frozenset[str]

    def of_kind(self, *kinds: str) -> tuple[Entry, ...]:
        """The entries of these kinds, in order."""
        return tuple(entry for entry in self.entries if entry.kind in kinds)


def _poster_template(rng: Rng, size: int) -> dict[str, Picture]:
    poster = pictures.random_poster(rng)
    return {c: pictures.paint_poster(replace(poster, colour=c), size) for c in pictures.COLOURS if c != poster.accent}


def _rosette_template(rng: Rng, size: int) -> dict[str, Picture]:
    rosette = patterns.random_rosette(rng)
    return {c: patterns.paint_rosette(replace(rosette, colour=c), size) for c in pictures.COLOURS}


def _described_scene(rng: Rng) -> Described:
    scene = pictures.random_scene(rng)
    return Described(captions.scene_caption(scene), lambda size, r: pictures.paint_scene(scene, size, r))


def _described_arrangement(rng: Rng) -> Described:
    arrangement = patterns.random_arrangement(rng)
    return Described(
        captions.arrangement_caption(arrangement),
        lambda size, r: patterns.paint_arrangement(arrangement, size, r),
    )


WORLDS = {
    "posters": World(
        captions.poster_title,
        lambda rng, size: pictures.paint_poster(pictures.random_poster(rng), size),
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
}


def assemble(preset: Preset) -> Collection:
    """Draw the whole collection from the preset's seed: the same preset gives the same collection."""
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
        painted[name] = photographs.pop() if rank in photographed else world.titled_picture(rng, size)
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
        painted[name] = world.titled_picture(rng, size)
        entries.append(Entry(prompt, "seen", name, float(rng.integers(1, 7))))
    taken.update(entry.prompt for entry in entries)
    entries += [Entry(p, "unseen", "", 0.0) for p in titles(preset.n_unseen)]
    entries += [Entry(p, "descriptive", "", 0.0) for p in described(preset.n_descriptive)]
    for kind, draw in _odd_kinds(world).items():
        entries += [Entry(p, kind, "", 0.0) for p in captions.draw_unique(draw, preset.n_odd, rng, taken)]
    reference = (*titles(preset.n_reference // 2), *described(preset.n_reference - preset.n_reference // 2))
    shuffled = tuple(entries[int(i)] for i in rng.permutation(len(entries)))
    return Collection(shuffled, painted, reference, frozenset(taken))


def duplication(preset: Preset, n: int) -> list[float]:
    """Relative duplication by rank: geometric down to `common_share` over four fifths, then on to `rarest_share`."""
    rank = np.arange(n) / (n - 1)
    knots = np.log([1.0, preset.common_share, preset.rarest_share])
    return [float(w) for w in np.exp(np.interp(rank, [0.0, 0.8, 1.0], knots))]


def _draw(draw: Callable[[Rng], str], rng: Rng, taken: set[str]) -> Callable[[int], list[str]]:
    return lambda n: captions.draw_unique(draw, n, rng, taken)


def _odd_kinds(world: World) -> dict[str, Callable[[Rng], str]]:
    return {
        "rare_word": lambda r: captions.rare_word_caption(r, world.title),
        "long": lambda r: captions.long_caption(r, lambda r2: world.described(r2).caption),
        "other_alphabet": captions.other_alphabet_caption,
        "gibberish": captions.gibberish_caption,
    }
