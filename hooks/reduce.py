"""Reduce an activation to a few values per neuron, by token class or over space: pure functions, in float32."""

from collections.abc import Collection

import torch
from torch import Tensor

from flashbulb.hooks.accelerated import reduce_space, reduce_tokens
from flashbulb.hooks.tokens import TOKEN_REDUCTIONS, TokenClass

SPACE_REDUCTIONS = ("abs_max", "abs_mean", "mean")


def over_tokens(x: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Reduce |x| over all positions and over those of each token class, keyed as in `TOKEN_REDUCTIONS`.

    A class without a position in a prompt is NaN in all neurons. NaN means only this absence: a NaN in `x` becomes
    infinity. Start and end are single positions, whose mean is also their maximum.

    Args:
        x: [prompt, position, neuron]
        classes: [prompt, position], from `token_classes`, on the device of `x`

    Returns:
        float32 [prompt, neuron] by key.

    Raises:
        ValueError: the shapes do not match.
    """
    return TokenReducer(classes)(x)


class TokenReducer:
    """Reduces activations of the same prompts as `over_tokens`, site after site.

    Args:
        classes: [prompt, position], from `token_classes`, on the device of the activations.
        reductions: those that are returned; positions that they do not need are not read.
    """

    def __init__(self, classes: Tensor, reductions: Collection[str] = TOKEN_REDUCTIONS) -> None:
        self.classes, self._reductions = classes, [name for name in TOKEN_REDUCTIONS if name in reductions]
        self._read = [c for c in TokenClass if {f"{c.name.lower()}_{how}" for how in ("mean", "max")} & {*reductions}]
        if "all_mean" in reductions:
            self._read = list(TokenClass)
        if classes.device.type != "cpu":
            is_read = torch.stack([classes == token_class for token_class in self._read]).any(dim=0)
            self._classes_read = classes.masked_fill(~is_read, -1)
            return
        self._inside = torch.stack([classes == token_class for token_class in TokenClass], dim=1)
        self._n_inside = self._inside.sum(dim=2, keepdim=True)  # [prompt, class, 1]
        self._is_absent = self._n_inside == 0  # [prompt, class, 1]
        self._absent = frozenset(c for c in TokenClass if bool(self._is_absent[:, c].any()))
        self._prompts = torch.arange(len(classes))
        self._first = self._inside.int().argmax(dim=2)  # [prompt, class]
        self._weights = self._inside.float()[..., None]  # [prompt, class, position, 1]
        # A sum of zeros at the end adds nothing, but torch adds up every fourth position on its own.
        n_prompt = 1 + _last(self._inside[:, TokenClass.PROMPT].any(dim=0))
        self._n_prompt = min(classes.shape[1], max(1, -(-n_prompt // 4)) * 4)
        self._n_mixed = 1 + _last((classes != TokenClass.PADDING).any(dim=0))
        reads_padding = TokenClass.PADDING in self._read
        self._n_read = classes.shape[1] if reads_padding else max(self._n_prompt, self._n_mixed)

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Reduce activations [prompt, position, neuron]: float32 [prompt, neuron] by key."""
        if x.ndim != 3 or x.shape[:2] != self.classes.shape:
            raise ValueError(
                f"x must be [prompt, position, neuron] and classes [prompt, position], "
                f"got {tuple(x.shape)} and {tuple(self.classes.shape)}"
            )
        reduced = self._on_cpu(x) if x.device.type == "cpu" else reduce_tokens(x, self._classes_read)
        return {name: reduced[name] for name in self._reductions}

    def _on_cpu(self, x: Tensor) -> dict[str, Tensor]:
        magnitude = x[:, : self._n_read].float().abs()
        reduced = {"all_mean": magnitude.mean(dim=1)}
        is_finite = bool(reduced["all_mean"].isfinite().all())
        if not is_finite:
            magnitude = magnitude.nan_to_num(nan=torch.inf, posinf=torch.inf)
            reduced = {"all_mean": magnitude.mean(dim=1)}
        for token_class in self._read:
            name = token_class.name.lower()
            if token_class in (TokenClass.START, TokenClass.END):  # one position, or none
                single = magnitude[self._prompts, self._first[:, token_class]]  # [prompt, neuron]
                reduced[f"{name}_mean"] = self._without_absent(single, token_class)
                continue
            members, n = self._only_(magnitude, token_class, is_finite), self._n_inside[:, token_class]
            reduced[f"{name}_mean"] = members.sum(dim=1) / n  # 0 / 0 is NaN: the class is absent
            if f"{name}_max" in self._reductions:
                largest = members.amax(dim=1)  # no magnitude is below 0
                reduced[f"{name}_max"] = self._without_absent(largest, token_class)
        return reduced

    def _without_absent(self, values: Tensor, token_class: TokenClass) -> Tensor:
        """Return values [prompt, neuron] with NaN for the prompts that have no such position."""
        if token_class not in self._absent:
            return values
        return values.masked_fill(self._is_absent[:, token_class], torch.nan)

    def _only_(self, magnitude: Tensor, token_class: TokenClass, is_finite: bool) -> Tensor:
        """Return magnitudes with 0 at positions of other classes; of padding, the last class, in place.

        Products with 0 and 1 take a third of the time of selections on a CPU, but infinity times 0 is NaN. Positions
        beyond all prompts are left out, and where all have padding there is nothing to multiply.
        """
        if not is_finite:
            return magnitude.where(self._inside[:, token_class, : self._n_read, None], 0.0)
        if token_class == TokenClass.PROMPT:
            return magnitude[:, : self._n_prompt] * self._weights[:, token_class, : self._n_prompt]
        magnitude[:, : self._n_mixed] *= self._weights[:, token_class, : self._n_mixed]
        return magnitude


def _last(is_true: Tensor) -> int:
    """Return the index of the last true value of [position], -1 if there is none."""
    indices = is_true.nonzero()
    return int(indices[-1]) if len(indices) else -1


def over_space(x: Tensor) -> dict[str, Tensor]:
    """Reduce over the pixels of each latent image, keyed as in `SPACE_REDUCTIONS`.

    A GPU reads `x` once. Where its compiler is missing or gradients flow, it reads `x` four times.

    Args:
        x: [latent, pixel, neuron]

    Returns:
        float32 [latent, neuron] by key: the maximum and mean of |x|, and the mean of x.

    Raises:
        ValueError: `x` is not 3-D, or has no pixel.
    """
    if x.ndim != 3 or x.shape[1] == 0:
        raise ValueError(f"x must be [latent, pixel, neuron] with at least one pixel, got {tuple(x.shape)}")
    if x.device.type == "cpu":  # there, a copy is faster than such reductions
        x = x.float()
        magnitude = x.abs()
        return {"abs_max": magnitude.amax(dim=1), "abs_mean": magnitude.mean(dim=1), "mean": x.mean(dim=1)}
    return dict(zip(SPACE_REDUCTIONS, reduce_space(x).unbind(dim=1), strict=True))
