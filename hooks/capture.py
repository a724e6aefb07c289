"""Observe modules as they run: context managers that never change an output and leave no hook behind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, nn

from flashbulb.hooks.sites import Reads, Site

N_NAMED = 3  # sites an error message names; further ones are counted


class SiteDidNotFire(RuntimeError):  # noqa: N818
    """A site fired an unexpected number of times; its activations cannot be trusted."""


@contextmanager
def capture(modules: Mapping[str, nn.Module], reads: Reads = "output") -> Iterator[dict[str, list[Tensor]]]:
    """Collect every output (or input) of `modules` while the context is open, still on the graph.

    Yields:
        The tensors of each name of `modules`, in the order of firing.

    Raises:
        SiteDidNotFire: on a clean exit, a module never ran.
    """
    captured: dict[str, list[Tensor]] = {name: [] for name in modules}
    with ExitStack() as stack:
        for name, module in modules.items():
            _watch(stack, module, reads, captured[name].append)
        yield captured
    silent = {name: 0 for name, tensors in captured.items() if not tensors}
    if silent:
        raise SiteDidNotFire(_describe(silent, len(modules), "at least once"))


@contextmanager
def observe(
    modules: Mapping[str, nn.Module],
    sites: Sequence[Site],
    on_activation: Callable[[Site, Tensor], None],
    expected_firings: int = 1,
) -> Iterator[Mapping[str, int]]:
    """Call `on_activation` with each site's activation as it fires, on its device and still on the graph.

    Args:
        modules: the live modules by `site.name`, as from `site_modules`.
        expected_firings: how often every site must fire while the context is open.

    Yields:
        The number of firings so far, by `site.name`.

    Raises:
        ValueError: a site is not among `modules`; raised before any hook is set.
        SiteDidNotFire: on a clean exit, a site fired more or less often than `expected_firings`.
    """
    check_modules(modules, sites)
    firings = dict.fromkeys((site.name for site in sites), 0)

    def on_firing(site: Site, activation: Tensor) -> None:
        firings[site.name] += 1
        on_activation(site, activation)

    with ExitStack() as stack:
        for site in sites:
            _watch(stack, modules[site.name], site.reads, partial(on_firing, site))
        yield firings
    wrong = {name: n_firings for name, n_firings in firings.items() if n_firings != expected_firings}
    if wrong:
        raise SiteDidNotFire(_describe(wrong, len(firings), f"{expected_firings} times"))


def check_modules(modules: Mapping[str, nn.Module], sites: Sequence[Site]) -> None:
    """Refuse sites without a module, before any hook is set.

    Raises:
        ValueError: a site is not among `modules`.
    """
    unknown = [site.name for site in sites if site.name not in modules]
    if unknown:
        raise ValueError(f"no module given for {len(unknown)} sites: {', '.join(unknown[:N_NAMED])}")


def _watch(stack: ExitStack, module: nn.Module, reads: Reads, on_tensor: Callable[[Tensor], None]) -> None:
    """Call `on_tensor` with each input or output of one module until `stack` closes."""

    def on_input(_module: nn.Module, args: tuple[Tensor, ...], keywords: Mapping[str, Tensor]) -> None:
        on_tensor(next(iter((*args, *keywords.values()))))  # transformers call their blocks by keyword

    def on_output(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
        on_tensor(output)

    if reads == "input":
        stack.callback(module.register_forward_pre_hook(on_input, with_kwargs=True).remove)
    else:
        stack.callback(module.register_forward_hook(on_output).remove)


def _describe(wrong: Mapping[str, int], n_sites: int, expected: str) -> str:
    named = ", ".join(f"{name} fired {n_firings} times" for name, n_firings in list(wrong.items())[:N_NAMED])
    more = f" and {len(wrong) - N_NAMED} more" if len(wrong) > N_NAMED else ""
    return (
        f"{len(wrong)} of {n_sites} sites did not fire {expected}: {named}{more}; "
        "causes: a compiled model, fused projections or chunked feed-forward layers"
    )
