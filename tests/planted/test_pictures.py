"""The pictures that are planted: of one shape, colourful, painted alike every time, and no two alike."""

from itertools import combinations

import numpy as np

from audit.evidence import REPLICATION_DISTANCE, tile_distances
from audit.planted.collection import WORLDS, Collection
from audit.planted.photographs import photograph
from audit.planted.pictures import Picture
from audit.planted.presets import Preset

VERBATIM = ("planted_title", "planted_description")


def colourfulness(picture: Picture) -> float:
    """Hasler and Suesstrunk's measure (2003): 0 is grey, 15 slightly, 59 quite and 82 highly colourful."""
    red, green, blue = picture.astype(np.float64).transpose(2, 0, 1)
    first, second = red - green, (red + green) / 2 - blue
    return float(np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean()))


def photograph_names(preset: Preset, collection: Collection) -> set[str]:
    """Names of the planted pictures that are photographs."""
    photographs = [photograph(name, preset.picture_size) for name in preset.photographs]
    return {
        name for name, picture in collection.pictures.items() if any(np.array_equal(picture, p) for p in photographs)
    }


def test_pictures_are_square_rgb_of_the_preset_size(preset: Preset, collection: Collection) -> None:
    for picture in collection.pictures.values():
        assert picture.shape == (preset.picture_size, preset.picture_size, 3)
        assert picture.dtype == np.uint8


def test_every_photograph_is_planted_once(preset: Preset, collection: Collection) -> None:
    names = photograph_names(preset, collection)
    assert len(names) == len(preset.photographs)
    assert names <= {entry.picture for entry in collection.of_kind(*VERBATIM)}


def test_painted_pictures_are_colourful(preset: Preset, collection: Collection) -> None:
    painted = collection.pictures.keys() - photograph_names(preset, collection)
    scores = [colourfulness(collection.pictures[name]) for name in painted]
    assert min(scores) > 10
    assert np.median(scores) > 70


def test_the_same_numbers_paint_the_same_picture(preset: Preset) -> None:
    world, size = WORLDS[preset.world], preset.picture_size

    def paint(seed: int) -> list[Picture]:
        rng = np.random.default_rng(seed)
        return [world.titled_picture(rng, size), world.described(rng).paint(size, rng)]

    assert all(map(np.array_equal, paint(0), paint(0)))
    assert not any(map(np.array_equal, paint(0), paint(1)))


def test_no_planted_picture_replicates_another(preset: Preset, collection: Collection) -> None:
    limit = REPLICATION_DISTANCE if preset.picture_size >= 64 else 0.15  # grey textures are alike at 32 x 32
    planted = [entry.picture for entry in collection.of_kind(*VERBATIM, "planted_template")]
    for name, other in combinations(planted, 2):
        if name[: len("template-00")] != other[: len("template-00")]:  # colours of one template are alike on purpose
            (distance,) = tile_distances(collection.pictures[name][None], collection.pictures[other])
            assert distance > limit, f"{name} and {other}"
