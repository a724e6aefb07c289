"""The sealed manifest of canaries: what was planted, in which data set, and apart from it the coin flips."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.plan import Canary
from flashbulb.audit.prompts.held import HeldPrompts, Prompt
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.hooks.files import DamagedFile, sealed, unsealed
from flashbulb.reports.tables.files import sha256_of, write_text

MANIFEST_FILE, IMAGES_FOLDER = "manifest.json", "canaries"
MANIFEST_VERSION = 1
N_STATED_CAPTIONS = 20_000
"""Captions of the data set, at most, by which it is recognized."""

_EXPECTED_MATCHES = 5.0  # of so many, none matches with a probability below 1 %


@dataclass(frozen=True, slots=True)
class DataSet:
    """The data set that canaries were planted in.

    Args:
        captions, images: as the user named them.
        captions_sha256: of the file of captions, as an audit states that of its prompts.
        n_captions: distinct captions.
        caption_ids: prompt_ids of a random part of them.
        text_auc, text_limit: how well words tell canaries from its captions, and what passes for chance.
    """

    captions: str
    images: str
    captions_sha256: str
    n_captions: int
    caption_ids: tuple[str, ...]
    text_auc: float
    text_limit: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was planted, without the coin flips.

    Args:
        sha256: of the file.
        delta, confidence: with which the bound on ε is stated, chosen before training.
    """

    path: Path
    sha256: str
    data: DataSet
    canaries: tuple[Canary, ...]
    delta: float
    confidence: float

    @property
    def folder(self) -> Path:
        """Folder of the images."""
        return self.path.parent / IMAGES_FOLDER

    def prompts(self) -> PromptSet:
        """Return the captions as prompts, in the order of the canaries."""
        source = self.path.with_name(MANIFEST_FILE)
        prompts = HeldPrompts.of(
            Prompt(prompt_id_of(canary.caption), canary.caption, str(source), row, 1)
            for row, canary in enumerate(self.canaries, start=1)
        )
        return PromptSet(prompts, len(prompts), len(prompts), 0, 0, None, self.sha256, str(source))


def prompt_id_of(text: str) -> str:
    """Return the prompt_id of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def data_set_of(captions: PromptSet, images: Path, text_auc: float, text_limit: float, seed: int) -> DataSet:
    """Describe the data set of these captions."""
    ids = captions.prompts.ids
    stated = np.random.default_rng([seed, 4]).permutation(len(ids))[:N_STATED_CAPTIONS]
    return DataSet(
        captions.source,
        str(images),
        captions.sha256,
        len(ids),
        tuple(sorted(ids[int(i)] for i in stated)),
        text_auc,
        text_limit,
    )


def write_manifest(
    path: Path, data: DataSet, canaries: Sequence[Canary], coins: Mapping[str, bool], stated: Mapping[str, Any]
) -> None:
    """Write and seal the manifest.

    Args:
        stated: what else a reader must know: seed, δ, confidence, format.
    """
    content = {
        "flashbulb_canaries": MANIFEST_VERSION,
        **stated,
        "data": asdict(data),
        "canaries": [asdict(canary) for canary in canaries],
        "coins": dict(coins),
    }
    write_text(path, sealed(content))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest and check its images; the coin flips stay closed, see `read_coins`.

    Raises:
        CanaryError: it is missing, edited, of another version, or an image is missing or has changed.
    """
    content = _content(path)
    try:
        canaries = tuple(Canary(**canary) for canary in content["canaries"])
        data = DataSet(**{**content["data"], "caption_ids": tuple(content["data"]["caption_ids"])})
        manifest = Manifest(
            path, sha256_of(path), data, canaries, float(content["delta"]), float(content["confidence"])
        )
    except (LookupError, TypeError, ValueError) as error:
        raise CanaryError(f"{path} is no manifest of canaries ({error}); give the one of `flashbulb plant`") from error
    for canary in canaries:
        _check_image(manifest.folder / canary.image, canary)
    return manifest


def _check_image(path: Path, canary: Canary) -> None:
    if not path.is_file():
        raise CanaryError(f"{path}, the image of {canary.canary_id}, is missing; put it back beside the manifest")
    if sha256_of(path) != canary.sha256:
        raise CanaryError(f"{path} is not the image of {canary.canary_id} that was planted; put that one back")


def read_coins(path: Path) -> dict[str, bool]:
    """Read the coin flips of a manifest: True is in the training set. They are read after the guesses are written."""
    return {str(name): bool(coin) for name, coin in _content(path)["coins"].items()}


def _content(path: Path) -> dict[str, Any]:
    try:
        content = unsealed(path)
    except FileNotFoundError as error:
        raise CanaryError(f"no manifest {path}; give the manifest.json of `flashbulb plant`") from error
    except OSError as error:
        raise CanaryError(f"{path} cannot be read: {error.strerror or error}; give a manifest.json") from error
    except DamagedFile as error:
        raise CanaryError(
            f"{path} was edited or is damaged; give the manifest as `flashbulb plant` wrote it"
        ) from error
    version = content.get("flashbulb_canaries")
    if version != MANIFEST_VERSION:
        raise CanaryError(f"{path} has version {version!r}, this flashbulb reads {MANIFEST_VERSION}; plant again")
    return content


def check_data_set(manifest: Manifest, captions: PromptSet) -> None:
    """Refuse prompts that are not of the data set that the canaries were planted in.

    Raises:
        CanaryError: none of the prompts is a caption of it, where at least five would be by chance.
    """
    data = manifest.data
    if captions.sha256 == data.captions_sha256:
        return
    known = set(data.caption_ids) | {prompt_id_of(canary.caption) for canary in manifest.canaries}
    expected = len(captions.prompts) * len(data.caption_ids) / data.n_captions
    if expected >= _EXPECTED_MATCHES and not any(prompt.prompt_id in known for prompt in captions.prompts):
        raise CanaryError(
            f"the canaries were planted in another data set ({data.captions}): none of the "
            f"{len(captions.prompts):,} prompts of {captions.source} is among its captions; give those as --prompts, "
            "or the manifest of this data set"
        )
