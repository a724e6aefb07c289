"""Planted images have one shape, are colourful, are painted the same every time, and do not replicate each other."""

from itertools import combinations

import numpy as np

from flashbulb.audit.images.distances import RgbImage, tile_distances
from flashbulb.audit.planted.collection import WORLDS, Collection
from flashbulb.audit.planted.photographs import photograph
from flashbulb.audit.planted.presets import Preset
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE

VERBATIM = ("planted_title", "planted_description")


def colourfulness(image: RgbImage) -> float:
    """Hasler and Suesstrunk's measure (2003): 0 is grey, 15 slightly, 59 quite and 82 highly colourful."""
    red, green, blue = image.astype(np.float64).transpose(2, 0, 1)
    first, second = red - green, (red + green) / 2 - blue
    return float(np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean()))


def photograph_names(preset: Preset, collection: Collection) -> set[str]:
    """Return the names of the planted images that are photographs."""
    photographs = [photograph(name, preset.picture_size) for name in preset.photographs]
    return {name for name, image in collection.images.items() if any(np.array_equal(image, p) for p in photographs)}


def test_images_are_square_rgb_of_the_preset_size(preset: Preset, collection: Collection) -> None:
    for image in collection.images.values():
        assert image.shape == (preset.picture_size, preset.picture_size, 3)
        assert image.dtype == np.uint8


def test_every_photograph_is_planted_once(preset: Preset, collection: Collection) -> None:
    names = photograph_names(preset, collection)
    assert len(names) == len(preset.photographs)
    assert names <= {entry.image for entry in collection.with_kind(*VERBATIM)}


def test_painted_images_are_colourful(preset: Preset, collection: Collection) -> None:
    painted = collection.images.keys() - photograph_names(preset, collection)
    scores = [colourfulness(collection.images[name]) for name in painted]
    assert min(scores) > 10
    assert np.median(scores) > 70


def test_the_same_seed_paints_the_same_image(preset: Preset) -> None:
    world, size = WORLDS[preset.world], preset.picture_size

    def paint(seed: int) -> list[RgbImage]:
        rng = np.random.default_rng(seed)
        return [world.titled_image(rng, size), world.described(rng).paint(size, rng)]

    assert all(map(np.array_equal, paint(0), paint(0)))
    assert not any(map(np.array_equal, paint(0), paint(1)))


def test_no_planted_image_replicates_another(preset: Preset, collection: Collection) -> None:
    limit = REPLICATION_DISTANCE if preset.picture_size >= 64 else 0.15  # grey textures are similar at 32 x 32
    planted = [entry.image for entry in collection.with_kind(*VERBATIM, "planted_template")]
    for name, other in combinations(planted, 2):
        if name[: len("template-00")] != other[: len("template-00")]:  # images of a template are similar on purpose
            (distance,) = tile_distances(collection.images[name][None], collection.images[other])
            assert distance > limit, f"{name} and {other}"
