"""Record reduced activations of sites while the model runs, as rows on its device."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from flashbulb.hooks.capture import observe
from flashbulb.hooks.reduce import SPACE_REDUCTIONS
from flashbulb.hooks.sites import Site


class NonFiniteActivation(RuntimeError):  # noqa: N818
    """The model computed an infinite or NaN activation; the recording cannot be trusted."""


def require_finite(what: str, *tensors: Tensor) -> None:
    """Refuse numbers of a model that are not finite: every comparison with them would be false.

    Args:
        what: names them in the message, in the plural.

    Raises:
        NonFiniteActivation: one is not finite.
    """
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise NonFiniteActivation(f"{what} are not finite; load the model in float32 or bfloat16")


@torch.no_grad()
def record(
    modules: Mapping[str, nn.Module],
    sites: Sequence[Site],
    run: Callable[[], object],
    reduce: Callable[[Tensor], Mapping[str, Tensor]],
    expected_firings: int = 1,
) -> dict[str, Tensor]:
    """Run the model once and return the reduced activations of all `sites`.

    Args:
        modules: the live modules by `site.name`, as from `site_modules`.
        run: evaluates the model; its result is discarded.
        reduce: turns one activation [batch, …, neuron] into named reductions [row, neuron]; called on the
            activation's device as the site fires, so no complete activation outlives its layer.
        expected_firings: how often every site fires in `run`; the rows of its firings are concatenated.

    Returns:
        float32 [row, neuron] on the activation's device by "site.name/reduction".

    Raises:
        SiteDidNotFire: a site fired more or less often than `expected_firings`.
        ValueError: a site has no module, or `reduce` returned another shape than [row, neuron].
    """
    rows: dict[str, list[Tensor]] = {}

    def keep(site: Site, activation: Tensor) -> None:
        for reduction, values in reduce(activation.detach()).items():
            key = f"{site.name}/{reduction}"
            if values.ndim != 2 or values.shape[1] != site.n_neurons:
                raise ValueError(f"{key} has shape {tuple(values.shape)}, expected [row, {site.n_neurons}]")
            rows.setdefault(key, []).append(values)

    with observe(modules, sites, keep, expected_firings):
        run()
    return {key: (firings[0] if len(firings) == 1 else torch.cat(firings)).float() for key, firings in rows.items()}


def check_finite(activations: Mapping[str, Tensor], keys: Mapping[str, Sequence[object]]) -> None:
    """Refuse non-finite activations, except the all-NaN rows of an absent token class.

    Args:
        activations: [row, neuron] by "site.name/reduction", as from `record`.
        keys: key columns by name, one value per row; they identify a row in the error message.

    Raises:
        NonFiniteActivation: a value is not finite; the message names the first site and row at fault.
    """
    for name, values in activations.items():
        if not values.numel() or all(
            bool(extreme.isfinite()) for extreme in values.aminmax()
        ):  # NaN is either's result
            continue
        is_bad = ~values.isfinite()  # [row, neuron]
        if name.rpartition("/")[2] not in SPACE_REDUCTIONS:
            is_bad &= ~values.isnan().all(dim=1, keepdim=True)
        bad_rows = is_bad.any(dim=1).nonzero().flatten().tolist()
        if bad_rows:
            row_key = ", ".join(f"{column}={values[bad_rows[0]]}" for column, values in keys.items())
            raise NonFiniteActivation(
                f"{name} is not finite in {len(bad_rows)} of {len(values)} rows, first at {row_key}; "
                "load the model in float32 or bfloat16"
            )
