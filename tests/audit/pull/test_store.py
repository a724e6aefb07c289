"""What a pull kept comes back for the same pixels and the same identity, or not at all."""

from pathlib import Path

import numpy as np

from flashbulb.audit.images.png import pixel_key
from flashbulb.audit.pull.evidence import Evidence
from flashbulb.audit.pull.store import Pulled, PullStore

EVIDENCE = Evidence(n_samples=6, n_copies=4, closeness=0.75, best=2)


def random_image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def test_a_pull_comes_back_for_its_pixels_and_identity_alone(tmp_path: Path) -> None:
    image, sample = random_image(0), random_image(1)
    PullStore(tmp_path, "this").save_pulled(pixel_key(image), Pulled(EVIDENCE, sample, 270))
    kept = PullStore(tmp_path, "this").pulled([pixel_key(image.copy())])[pixel_key(image)]
    assert (kept.evidence, kept.evaluations) == (EVIDENCE, 270)
    np.testing.assert_array_equal(kept.sample, sample)
    assert PullStore(tmp_path, "this").pulled([pixel_key(sample)]) == {}
    assert PullStore(tmp_path, "another").pulled([pixel_key(image)]) == {}


def test_ranks_come_back_for_the_same_block_alone(tmp_path: Path) -> None:
    store, ranks = PullStore(tmp_path, "this"), np.array([0.25, -1.5])
    store.save_ranks(["a", "b"], ranks)
    kept = store.ranks(["a", "b"])
    assert kept is not None
    np.testing.assert_array_equal(kept, ranks)
    assert store.ranks(["b", "a"]) is None
    assert PullStore(tmp_path, "another").ranks(["a", "b"]) is None


def test_a_pull_of_a_call_that_was_cut_off_while_it_was_written_counts_as_missing(tmp_path: Path) -> None:
    store, keys = PullStore(tmp_path, "this"), [pixel_key(random_image(i)) for i in range(2)]
    pulled = Pulled(EVIDENCE, random_image(2), 270, keys)
    store.save_pulled(keys[0], pulled)
    assert store.pulled(keys) == store.pulled(keys[:1]) == {}
    store.save_pulled(keys[1], pulled)
    assert store.pulled(keys).keys() == {*keys}
    assert store.pulled(keys[:1]).keys() == {keys[0]}
    (tmp_path / f"image-{keys[1]}.safetensors").write_bytes(b"damaged")
    assert store.pulled(keys) == {}


def test_a_damaged_file_counts_as_missing(tmp_path: Path) -> None:
    store, key = PullStore(tmp_path, "this"), pixel_key(random_image(0))
    store.save_pulled(key, Pulled(EVIDENCE, random_image(1), 270))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert store.pulled([key]) == {}
