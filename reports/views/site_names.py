"""Short names of sites, and sites grouped by kind in the order in which a prompt passes them."""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple


class SiteGroup(NamedTuple):
    """The sites of one kind, as positions in the given list of sites."""

    kind: str
    short: str
    positions: tuple[int, ...]


_KINDS = (
    ("text encoder", "text"),
    ("cross-attention K", "K"),
    ("cross-attention V", "V"),
    ("cross-attention output", "out"),
    ("feed-forward", "FF"),
    ("other", "other"),
)
_KIND_OF_PART = {"to_k": 1, "to_v": 2, "to_out": 3, "ff": 4, "ff_context": 4}
_DENOISERS = ("unet", "transformer")
_STAGES = ("down_blocks", "mid_block", "up_blocks")


def sites_by_kind(sites: Sequence[str]) -> tuple[SiteGroup, ...]:
    """Group sites by kind, each group in network order: down, middle, up, and within these as given."""
    ordered = sorted(range(len(sites)), key=lambda i: (_stage(sites[i]), i))
    groups = (
        SiteGroup(*names, tuple(i for i in ordered if _kind(sites[i]) == kind)) for kind, names in enumerate(_KINDS)
    )
    return tuple(group for group in groups if group.positions)


def short_site(site: str) -> str:
    """Shorten `unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2` to `down.0.ff`; it need not be unique."""
    parts = site.split(".")
    if parts[0] in _DENOISERS and len(parts) < 3:
        return site
    if parts[0] not in _DENOISERS:
        return ".".join(part for part in parts if part.isdigit() or part.startswith("text_encoder"))
    block = parts[1].removesuffix("_blocks").removesuffix("_block")
    index = f".{parts[2]}" if parts[2].isdigit() else ""
    feed_forward = next((part for part in parts if part in ("ff", "ff_context")), None)
    kind = feed_forward or (parts[-1] if not parts[-1].isdigit() else parts[-2])
    return min(f"{block}{index}.{kind}", site, key=len)  # `unet.transformer.0` has no kind beside its block


def distinct_names(sites: Sequence[str]) -> list[str]:
    """Return a distinct short name for each site, such as `down 0.0.0`.

    The names drop the component, the ending that all sites share, and the words of the module tree.
    """
    parts = [name.split(".") for name in sites]
    endings = zip(*(part[::-1] for part in parts), strict=False)
    n_shared = sum(1 for _ in takewhile(lambda ending: len(set(ending)) == 1, endings)) if len(sites) > 1 else 0
    kept = [".".join(part[: len(part) - n_shared]).removeprefix("unet.").removeprefix("transformer.") for part in parts]
    bare = [re.sub(r"(attentions|transformer_blocks|encoder\.layers)(\.|$)", "", name) for name in kept]
    return [re.sub(r"_blocks?\.", " ", re.sub("^text_encoder", "text", name)) for name in bare]


def _kind(site: str) -> int:
    if site.startswith("text_encoder"):
        return 0
    return next((_KIND_OF_PART[part] for part in site.split(".") if part in _KIND_OF_PART), len(_KINDS) - 1)


def _stage(site: str) -> int:
    """Return 0 for sites before the UNet, 1 to 3 for the UNet's down, middle and up blocks."""
    return next((1 + _STAGES.index(part) for part in site.split(".") if part in _STAGES), 0)
