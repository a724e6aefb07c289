"""`compare.html`: the images of a base and a fine-tune, in one file that needs no network and no script."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from markupsafe import Markup

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.page.card_images import CardImage, ImageGroup, card_image
from flashbulb.reports.page.facts import Fact
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.page.template import csp_hash, page_style, template_environment
from flashbulb.reports.page.training_files import find_training_file
from flashbulb.reports.tables.compare import (
    COMPARE_FILE,
    COMPARE_PAGE,
    Comparison,
    PromptComparison,
    Side,
    Sign,
    comparison_sentences,
    sign_of,
)
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, write_text
from flashbulb.reports.tables.run_paths import path_in_run
from flashbulb.reports.views.text import format_location

MAX_CARDS = 100
_DONE: dict[Sign, str] = {"copies": "copied", "repeats": "repeated"}
_MODELS = {
    (False, False): None,
    (False, True): "the fine-tune only",
    (True, True): "both",
    (True, False): "the base only",
}
_MOST_SHOWN = 8  # images of a prompt and model

HOW_TO_READ = (
    "Both models were sampled with the same prompts, seeds, initial noise, steps and guidance. In each card, images "
    "one above the other have the same seed.",
    "Order: prompts at which more seeds of the fine-tune than of the base copy a training image come first, if "
    "training images are given. Then those whose seeds agree more in the fine-tune, then those whose seeds came "
    "nearer to each other.",
    "Distance: how far the fine-tune's image is from the base's, at the same seed. It is the root mean square "
    "difference in the worst of 4 × 4 tiles, 0 to 1; median over seeds, with smallest and largest.",
    "Seed agreement: share of seeds in the largest group that shows the same image. A memorized image comes back at "
    "every seed; it counts as repeated if at least half of the seeds, and two, agree. Distance of "
    "seeds: mean distance of an image to the nearest one of another seed.",
)
LIMITS = (
    "An image that the base does not give at these seeds may still be in the base.",
    "Training changes images of every prompt. A large distance alone is no sign of copying.",
    "Seeds that agree show that an image comes back, not that it is a training image: simple prompts agree as well.",
)
_LIMIT_OF_COPIES = (
    "Images are compared with the given training images only. One that was trained on and is not among them shows "
    "only by coming back at other seeds."
)


@dataclass(frozen=True, slots=True)
class ComparedCard:
    """A prompt with the images of both models."""

    label: str
    location: str
    badges: tuple[tuple[str, str], ...]
    is_new: bool
    rows: tuple[ImageGroup, ...]
    nearest: tuple[ImageGroup, ...]
    facts: tuple[tuple[str, str], ...]


def write_comparison_page(directory: Path, compared: Comparison) -> None:
    """Write the page, completely or not at all."""
    write_text(directory / COMPARE_PAGE, comparison_html(directory, compared))


def comparison_html(directory: Path, compared: Comparison) -> str:
    """Render the page. Its links are relative to the directory of the comparison, in which the images are."""
    style, labels = page_style(), _labels(directory, compared)
    record = compared.record
    return (
        template_environment()
        .get_template("compare.html.j2")
        .render(
            record=record,
            sentences=[text[0].upper() + text[1:] for text in comparison_sentences(compared)],
            facts=_facts(compared),
            cards=[
                _card(prompt, record.settings["train_images"], directory, labels)
                for prompt in compared.prompts[:MAX_CARDS]
            ],
            n_more=max(0, len(compared.prompts) - MAX_CARDS),
            file=COMPARE_FILE,
            how_to_read=HOW_TO_READ,
            limits=limits_of(compared),
            labels=labels,
            style=Markup(style),
            style_hash=csp_hash(style),
        )
    )


def limits_of(compared: Comparison) -> tuple[str, ...]:
    """Return what the comparison does not prove."""
    return (*LIMITS, _LIMIT_OF_COPIES) if compared.record.has_training_images else LIMITS


def _labels(directory: Path, compared: Comparison) -> Labels:
    return Labels(redact=bool(compared.record.settings["redact_prompts"]), page=directory / COMPARE_PAGE)


def _facts(compared: Comparison) -> tuple[Fact, ...]:
    record, prompts = compared.record, compared.prompts
    controls = [prompt.distance for prompt in prompts if prompt.is_control]
    others = [prompt.distance for prompt in prompts if not prompt.is_control]
    among = f"; {count_text(len(controls), 'control')} among them" if controls else ""
    return (
        Fact(f"{record.n_prompts:,}", "prompts compared", f"{record.n_left_out:,} left out{among}"),
        *(_sign_fact(compared, sign) for sign in compared.signs),
        Fact(
            f"{median(others):.2f}" if others else "–",
            "median distance of the images",
            f"controls {median(controls):.2f}" if controls else "without controls",
        ),
    )


def _sign_fact(compared: Comparison, sign: Sign) -> Fact:
    new, both = (compared.counted(sign, base=base, finetune=True, is_control=False) for base in (False, True))
    meaning = "a training image" if sign == "copies" else "one image for half of the seeds, at least two"
    return Fact(f"{new:,}", f"{_DONE[sign]} by the fine-tune only", f"{meaning}; {both:,} by both")


def _card(prompt: PromptComparison, train_images: object, directory: Path, labels: Labels) -> ComparedCard:
    location = format_location(prompt.source_file, prompt.source_row)
    folder = f"{IMAGES_DIRECTORY}/{prompt.prompt_id}"
    sides = (("base", prompt.base), ("fine-tune", prompt.finetune))

    def image(path: Path, alt: str) -> tuple[CardImage, ...]:
        shown = card_image(path, alt, directory, labels, "shown")
        return () if shown is None else (shown,)

    def row(title: str, side: Side) -> ImageGroup:
        paths = [path_in_run(directory, COMPARE_FILE, name) for name in side.images[:_MOST_SHOWN]]
        shown = [image(path, f"{title}, seed {index}, of {location}") for index, path in enumerate(paths)]
        return ImageGroup(title, sum(shown, ()), "no image saved")

    def nearest(side: Side) -> ImageGroup:
        found = side.best
        path = None if found is None else find_training_file(found.path, directory, folder, train_images)
        shown = () if path is None or found is None else image(path, f"training image {labels.image(found.path)}")
        kind = "copied" if found is not None and found.kind is not None else "nearest"
        return ImageGroup(kind, shown, "no file" if found is not None else "")

    return ComparedCard(
        label=labels.prompt(prompt.prompt, location),
        location=location,
        badges=tuple(_badges(prompt)),
        is_new=(False, True) in (sign_of(prompt, sign) for sign in _DONE),
        rows=tuple(row(*side) for side in sides),
        nearest=tuple(nearest(side) for _, side in sides) if prompt.base.nearest else (),
        facts=tuple(_measures(prompt, labels)),
    )


def _badges(prompt: PromptComparison) -> Iterator[tuple[str, str]]:
    """Yield class and text of each badge."""
    for sign, done in _DONE.items():
        by = _MODELS[sign_of(prompt, sign)]
        if by is not None:
            yield "confirmed" if by == _MODELS[False, True] else "", f"{done} by {by}"
    if prompt.is_control:
        yield "known", "control"
    elif prompt.severity is not None:
        yield "", f"{prompt.severity} severity"


def _measures(prompt: PromptComparison, labels: Labels) -> Iterator[tuple[str, str]]:
    """Yield name and value of each measure; of two models with an arrow from the base to the fine-tune."""
    base, finetune = prompt.base, prompt.finetune
    yield "distance", f"{prompt.distance:.2f} ({min(prompt.distances):.2f} to {max(prompt.distances):.2f})"
    yield "seed agreement", f"{base.agreement:.2f} → {finetune.agreement:.2f}"
    yield "distance of seeds", f"{base.seed_distance:.3f} → {finetune.seed_distance:.3f}"
    if base.best is not None and finetune.best is not None:
        yield "copies", f"{base.n_copies} → {finetune.n_copies} of {len(finetune.images)}"
        yield "similarity", f"{base.best.similarity:.2f} → {finetune.best.similarity:.2f}"
        yield "nearest image", labels.image(finetune.best.path)
    if prompt.spike_score is not None:
        yield "spike score", f"{prompt.spike_score:.3g}"
    if prompt.p_value is not None:
        yield "p", f"{prompt.p_value:.3g}"
