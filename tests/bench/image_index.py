"""`python -m tests.bench.image_index`: what the search for training images finds, takes for copies, and costs.

RgbImages are those of the planted models and crops of scikit-image's photographs; hashes of further distractors are
random, which those of photographs resemble and those of images painted by one hand do not.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from flashbulb.audit.planted.photographs import open_source
from flashbulb.audit.training_images.candidates import find_places
from flashbulb.audit.training_images.hashes import IMAGE_WINDOWS, window_hashes
from flashbulb.audit.training_images.index import Entry, ImageIndex, open_index, write_index
from flashbulb.audit.training_images.nearest import HASH_SHORTLIST
from flashbulb.audit.training_images.sources.members import Member
from flashbulb.audit.training_images.sources.passed_over import Tally
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.audit.training_images.templates import template_match
from tests.bench.models import MODELS

SOURCES = (
    *("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png", "retina.jpg", "rocket.jpg"),
    *("camera.png", "coins.png", "brick.png", "gravel.png", "grass.png", "moon.png", "motorcycle_left.png", "page.png"),
)
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def crop(image: Image.Image, rng: np.random.Generator, area: float) -> Image.Image:
    scale = float(np.sqrt(area))
    left, top = rng.uniform(0, 1 - scale, 2) * image.size
    box = (left, top, left + scale * image.width, top + scale * image.height)
    return image.resize(image.size, Image.Resampling.LANCZOS, box=box)


def shift(image: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    most = round(share * image.width)
    x, y = rng.integers(0, 2 * most + 1, 2)
    padded = np.pad(np.asarray(image), ((most, most), (most, most), (0, 0)), mode="edge")
    return Image.fromarray(np.ascontiguousarray(padded[y : y + image.height, x : x + image.width]))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def framed(image: Image.Image, rng: np.random.Generator, area: float) -> Image.Image:
    size = (round(image.width * area**0.5), round(image.height * area**0.5))
    around = Image.new("RGB", image.size, tuple(rng.integers(0, 256, 3).tolist()))
    left, top = (int(rng.integers(0, free + 1)) for free in (image.width - size[0], image.height - size[1]))
    around.paste(image.resize(size, Image.Resampling.LANCZOS), (left, top))
    return around


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def blurred(image: Image.Image) -> Image.Image:
    half = (image.width // 2, image.height // 2)
    return image.resize(half, Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BICUBIC)


CHANGES: dict[str, Change] = {
    "as it is": lambda p, _: p,
    "mirrored": lambda p, _: mirrored(p),
    "jpeg quality 30": lambda p, _: jpeg(p, 30),
    "half resolution": lambda p, _: blurred(p),
    "brightness x 1.2": lambda p, _: ImageEnhance.Brightness(p).enhance(1.2),
    "shifted up to 8 %": lambda p, rng: shift(p, rng, 0.08),
    "crop of 85 %": lambda p, rng: crop(p, rng, 0.85),
    "crop of 75 %": lambda p, rng: crop(p, rng, 0.75),
    "crop of 60 %": lambda p, rng: crop(p, rng, 0.6),
    "mirrored crop of 60 %, jpeg": lambda p, rng: jpeg(crop(mirrored(p), rng, 0.6), 60),
    "framed, 65 % of the area": lambda p, rng: framed(p, rng, 0.65),
}


def planted(folder: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted((folder / "pictures").iterdir())]


def photographs(n: int, size: int, rng: np.random.Generator) -> list[Image.Image]:
    """Square crops of photographs, [size, size] each, which overlap one another."""
    sources = [open_source(name) for name in SOURCES]
    images = []
    for index in range(n):
        source = sources[index % len(sources)]
        side = int(rng.integers(min(source.size) // 8, min(source.size) // 2))
        left, top = (int(rng.integers(0, free + 1)) for free in (source.width - side, source.height - side))
        box = (left, top, left + side, top + side)
        images.append(source.crop(box).resize((size, size), Image.Resampling.LANCZOS))
    return images


def shortlist_recall(n_distractors: int, n_samples: int) -> None:
    """Print the share of changed images whose original is in the shortlist."""
    rng = np.random.default_rng(0)
    painted = [image for folder in MODELS.values() for image in planted(folder)]
    images = painted + photographs(len(painted), 64, rng)
    hashes = np.stack([window_hashes(image, IMAGE_WINDOWS, 1.0) for image in images])
    noise = rng.integers(0, 1 << 64, (n_distractors, len(IMAGE_WINDOWS)), dtype=np.uint64)
    rows, offsets = np.concatenate([hashes, noise]), np.empty(0, dtype=np.uint64)
    index = ImageIndex(Path(), 1.0, len(rows), (), rows, b"", offsets)
    print(f"\nin the shortlist of {HASH_SHORTLIST}, among {len(index):,} ({len(images):,} images, else random hashes)")
    halves = {"painted": (0, len(painted)), "photographs": (len(painted), len(images))}
    for name, change in CHANGES.items():
        shares = {}
        for half, (first, end) in halves.items():
            chosen = rng.choice(np.arange(first, end), n_samples, replace=False).tolist()
            lists = [find_places(index, np.asarray(change(images[i], rng)), HASH_SHORTLIST) for i in chosen]
            shares[half] = np.mean([i in {p.index for p in found} for i, found in zip(chosen, lists, strict=True)])
        print(f"  {name:<28}" + "  ".join(f"{half} {share:.2f}" for half, share in shares.items()), flush=True)


def found_and_mistaken(folder: Path, size: int, n_samples: int) -> None:
    """Print which changed images are found verbatim, and how many strangers pass for copies."""
    rng = np.random.default_rng(1)
    originals = planted(folder) + photographs(400, size, rng)
    others = [image for other in MODELS.values() if other != folder for image in planted(other)]
    strangers = [image.resize((size, size), Image.Resampling.LANCZOS) for image in others]
    with tempfile.TemporaryDirectory() as name:
        for number, image in enumerate(originals):
            image.save(Path(name) / f"{number:05d}.png")
        training = open_training_images(Path(name), size, size)
        print(f"\n{folder.name} at {size} px, {len(training)} training images")
        for change_name, change in CHANGES.items():
            chosen = rng.choice(len(originals), n_samples, replace=False).tolist()
            found = training.nearest(np.stack([np.asarray(change(originals[i], rng)) for i in chosen]))
            right = [n.index == i for n, i in zip(found, chosen, strict=True)]
            kinds = [
                [n.kind for n, is_right in zip(found, right, strict=True) if is_right].count(kind) / n_samples
                for kind in ("verbatim", "template")
            ]
            wrong = sum(n.kind is not None and not is_right for n, is_right in zip(found, right, strict=True))
            print(
                f"  {change_name:<28}verbatim {kinds[0]:.2f}  template {kinds[1]:.2f}  another image {wrong}",
                flush=True,
            )
        chosen = rng.choice(len(strangers), 2 * n_samples, replace=False).tolist()
        started = time.process_time()
        found = training.nearest(np.stack([np.asarray(strangers[i]) for i in chosen]))
        seconds = (time.process_time() - started) / len(found)
        mistaken = {kind: sum(n.kind == kind for n in found) for kind in ("verbatim", "template")}
        print(f"  {len(found)} strangers painted by the same hand: {mistaken}; {1000 * seconds:.0f} ms a stranger")


def template_rates(n_strangers: int) -> None:
    """Print how often recoloured templates match one another, and strangers one another, with and without a mask."""
    rng = np.random.default_rng(2)
    for folder in MODELS.values():
        groups: dict[str, list[np.ndarray]] = {}
        for path in sorted((folder / "pictures").iterdir()):
            group = path.stem.rsplit("-", 1)[0] if path.stem.startswith("template") else path.stem
            groups.setdefault(group, []).append(np.asarray(Image.open(path).convert("RGB")))
        templates = [images for images in groups.values() if len(images) > 1]
        masks = [np.ptp(np.stack(images).astype(int), axis=0).max(axis=2) <= 32 for images in templates]
        own = [(pair, mask) for images, mask in zip(templates, masks, strict=True) for pair in pairwise(images)]
        heads = [images[0] for images in groups.values()]
        pairs = [rng.choice(len(heads), 2, replace=False) for _ in range(n_strangers)]
        foreign = [((heads[i], heads[j]), masks[k % len(masks)]) for k, (i, j) in enumerate(pairs)]
        for name, rows in (("templates", own), ("strangers", foreign)):
            free = sum(template_match(*pair).is_match for pair, _ in rows)
            masked = sum(template_match(*pair, mask).is_match for pair, mask in rows)
            print(f"  {folder.name:<10}{name}: {free} of {len(rows)} match, {masked} with a mask", flush=True)


def cost(n: int) -> None:
    """Print time and memory of writing and searching an index of `n` random hashes."""
    rng, width = np.random.default_rng(3), len(IMAGE_WINDOWS)

    def entries() -> Iterator[Entry]:
        blank = Image.new("RGB", (1, 1))
        for start in range(0, n, 65536):
            hashes = rng.integers(0, 1 << 64, (min(65536, n - start), width), dtype=np.uint64)
            for offset, row in enumerate(hashes):
                yield Entry(Member("shard-00000.tar", f"{start + offset:09d}.jpg", 512, 1000), row, blank)

    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.process_time()
        (folder / "index").mkdir()
        write_index(folder, folder / "index", 1.0, entries(), Tally())
        built = time.process_time() - started
        sizes = sum(path.stat().st_size for path in (folder / "index").iterdir())
        index = open_index(folder / "index", 1.0)
        sample = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        started = time.process_time()
        find_places(index, sample, HASH_SHORTLIST)
        searched = time.process_time() - started
    anonymous = next(line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line)
    print(
        f"{n:,} images: written in {built:.0f} s without reading images, {sizes / 2**20:.0f} MiB on disk; a sample "
        f"searched in {searched:.2f} s of processor time; memory not mapped: {anonymous.split()[1]} KiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100, help="changed images a row")
    parser.add_argument("--distractors", type=int, default=1_000_000, help="random hashes beside the images")
    parser.add_argument("--hashes", type=int, nargs="*", default=[1_000_000, 10_000_000], help="sizes to time")
    arguments = parser.parse_args()
    for n in arguments.hashes:
        cost(n)
    print("\nrecoloured templates")
    template_rates(20 * arguments.samples)
    for name, size in (("embedded", 64), ("catalogue", 32)):
        found_and_mistaken(MODELS[name], size, arguments.samples)
    shortlist_recall(arguments.distractors, arguments.samples)


if __name__ == "__main__":
    main()
