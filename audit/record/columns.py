"""Columns of activations side by side: which sites they read, and where a neuron of one of them stands in the row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flashbulb.hooks import Site

Row = npt.NDArray[np.float32]  # [..., neuron]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the shards: the neurons of one site, with one reduction."""

    site: Site
    reduction: str

    @property
    def name(self) -> str:
        return f"{self.site.name}/{self.reduction}"

    @property
    def token_class(self) -> str:
        """`start`, `prompt`, `end` or `padding` at prompt sites; `all` without a token axis or over all tokens."""
        return self.reduction.split("_")[0] if self.site.is_prompt_site else "all"


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns in the order in which their neurons stand in a matrix: [prompt, neuron].

    Args:
        ordered: all of prompt sites, or all of step sites.
    """

    ordered: tuple[Column, ...]

    def __iter__(self) -> Iterator[Column]:
        return iter(self.ordered)

    @property
    def names(self) -> list[str]:
        """Their names in the shards."""
        return [column.name for column in self.ordered]

    @property
    def sites(self) -> tuple[Site, ...]:
        """Their sites, each once, in the order of the columns."""
        return tuple(dict.fromkeys(column.site for column in self.ordered))

    @property
    def are_of_prompt_sites(self) -> bool:
        """Whether a prompt has one row, rather than one for each seed."""
        return self.ordered[0].site.is_prompt_site

    @property
    def n_neurons(self) -> int:
        """Neurons of all columns; a site that two columns read counts twice."""
        return sum(column.site.n_neurons for column in self.ordered)

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Index of the first neuron of each column: [column]."""
        return np.cumsum([0, *(column.site.n_neurons for column in self.ordered)])[:-1]

    def indices_of(self, neurons: Iterable[tuple[Column, int]]) -> list[int]:
        """Return where neurons, each of a column, stand in a row."""
        starts = dict(zip(self.ordered, self.starts.tolist(), strict=True))
        return [starts[column] + neuron for column, neuron in neurons]

    def neurons_at(self, indices: npt.NDArray[np.integer]) -> list[tuple[Column, int]]:
        """Return the column and the neuron at each index of a row, the inverse of `indices_of`."""
        starts = self.starts
        positions = np.searchsorted(starts, indices, side="right") - 1
        neurons = indices - starts[positions]
        return [(self.ordered[p], n) for p, n in zip(positions.tolist(), neurons.tolist(), strict=True)]

    def join(self, by_name: Mapping[str, Row]) -> Row:
        """Put the columns side by side: [..., neuron] each, by name, to [..., neuron]."""
        return np.concatenate([by_name[name] for name in self.names], axis=-1)

    def by_site(self, row: npt.NDArray[np.floating]) -> dict[Site, npt.NDArray[np.floating]]:
        """Return the part of [..., neuron] that belongs to each site, over all its columns."""
        parts: dict[Site, list[npt.NDArray[np.floating]]] = {}
        for column, part in zip(self.ordered, np.split(row, self.starts[1:], axis=-1), strict=True):
            parts.setdefault(column.site, []).append(part)
        return {site: np.concatenate(site_parts, axis=-1) for site, site_parts in parts.items()}
