"""Encoded prompts: what the denoiser is conditioned on, opaque outside `model/`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What a denoiser is conditioned on, a row for each prompt.

    Args:
        tensors: by argument of the pipeline's call, such as `prompt_embeds` [prompt, position, width].
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def rows(self, chosen: slice | Sequence[int] | Tensor) -> Conditioning:
        """Select rows, in the given order; a row may be selected more than once."""
        index = torch.tensor(chosen, dtype=torch.long) if isinstance(chosen, Sequence) else chosen
        return Conditioning({name: tensor[index] for name, tensor in self.tensors.items()})

    def repeat(self, n: int) -> Conditioning:
        """Repeat each row `n` times, copies side by side."""
        return Conditioning({name: tensor.repeat_interleave(n, dim=0) for name, tensor in self.tensors.items()})

    def each(self) -> list[Conditioning]:
        """Return every row on its own."""
        return [self.rows(slice(i, i + 1)) for i in range(len(self))]

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Conditioning:
        """Move to a device and convert to a dtype."""
        return Conditioning({name: tensor.to(device, dtype) for name, tensor in self.tensors.items()})

    def kept(self) -> Conditioning:
        """Detach, and move to the CPU in float32, as results are kept."""
        return Conditioning({name: tensor.detach().float().cpu() for name, tensor in self.tensors.items()})

    @property
    def n_values(self) -> int:
        """Number of values in one row."""
        return sum(tensor[0].numel() for tensor in self.tensors.values())

    @staticmethod
    def join(parts: Sequence[Conditioning]) -> Conditioning:
        """Join the rows of several parts."""
        return Conditioning({name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors})


Encoding = Callable[[], Conditioning]
"""Encodes prompts that were chosen before."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompts:
    """Prompts, the tokens that the text encoders read, and what came of them.

    Args:
        texts: the prompts.
        input_ids: [prompt, position] by text encoder.
        classes: [prompt, position] by text encoder, see `flashbulb.hooks.TokenClass`.
        find_truncated: returns what `is_truncated` is; it waits for the text encoders, and so is called when needed.
    """

    texts: tuple[str, ...]
    input_ids: Mapping[str, Tensor]
    classes: Mapping[str, Tensor]
    find_truncated: Callable[[], tuple[bool, ...]]
    conditioning: Conditioning

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, chosen: slice) -> EncodedPrompts:
        """Select some of the prompts."""
        return EncodedPrompts(
            self.texts[chosen],
            {name: ids[chosen] for name, ids in self.input_ids.items()},
            {name: classes[chosen] for name, classes in self.classes.items()},
            lambda: self.is_truncated[chosen],
            self.conditioning.rows(chosen),
        )

    @property
    def is_truncated(self) -> tuple[bool, ...]:
        """For each prompt, True if its last words reach no text encoder."""
        return self.find_truncated()

    def readings_of_cut(self) -> list[int]:
        """Hash the tokens that are read of each truncated prompt: prompts of equal hashes are read alike."""
        cut = [i for i, is_cut in enumerate(self.is_truncated) if is_cut]
        if not cut:
            return []
        read = torch.cat([ids[cut].cpu() for ids in self.input_ids.values()], dim=1)
        return [int.from_bytes(hashlib.sha256(row.numpy().tobytes()).digest()[:7]) for row in read]

    @property
    def main_classes(self) -> Tensor:
        """Classes of the first text encoder's tokens, whose positions are those of cross-attention."""
        return next(iter(self.classes.values()))
