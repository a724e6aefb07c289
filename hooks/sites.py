"""Find and name the sites of a live pipeline by module class and name suffix, never by position."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeGuard

from diffusers import DiffusionPipeline, ModelMixin, UNet2DConditionModel
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, FusedAttnProcessor2_0
from torch import nn

Reads = Literal["input", "output"]

SITE_KINDS = ("text_mlp", "cross_k", "cross_v", "cross_out", "feed_forward")
_TEXT_ENCODER, _DENOISERS = "text_encoder", ("unet", "transformer")
"""How components of a pipeline are named."""
PROMPT_SITE_KINDS = frozenset({"text_mlp", "cross_k", "cross_v"})


class UnknownArchitecture(ValueError):  # noqa: N818
    """The pipeline has no denoiser of a known class, or no site of a requested kind."""


@dataclass(frozen=True, slots=True)
class Site:
    """A module of the model whose input or output channels are neurons.

    Args:
        name: component and normalised module path; does not depend on library versions or loaded adapters.
        component: attribute name on the pipeline, such as "unet" or "text_encoder_2".
        module_path: path of the module inside the live component, as in `named_modules`.
        kind: one of `SITE_KINDS`.
        n_neurons: size of the last dimension of that input or output.
        reads: "input" if the neurons are the channels of the module's input, "output" if of its output.
    """

    name: str
    component: str
    module_path: str
    kind: str
    n_neurons: int
    reads: Reads

    @property
    def is_prompt_site(self) -> bool:
        """True if the activation depends on the prompt alone: reading it needs no evaluation of the denoiser."""
        return self.kind in PROMPT_SITE_KINDS

    @property
    def is_in_text_encoder(self) -> bool:
        """True for sites of a text encoder, False for those of the denoiser."""
        return self.component.startswith(_TEXT_ENCODER)


def find_sites(pipe: DiffusionPipeline, kinds: Collection[str]) -> tuple[Site, ...]:
    """Find the sites of `kinds`, ordered by kind as in `SITE_KINDS`, then in the model's module order.

    Raises:
        UnknownArchitecture: the pipeline has neither a UNet2DConditionModel nor a transformer, or no site of one of the
            kinds.
        ValueError: a kind is not one of `SITE_KINDS`, cross-attention runs on fused projections, or `torch.compile`
            wraps a component.
    """
    unknown = sorted(set(kinds) - set(SITE_KINDS))
    if unknown:
        raise ValueError(f"unknown site kinds {unknown}; allowed are {list(SITE_KINDS)}")
    for name, part in _components(pipe).items():
        if hasattr(part, "_orig_mod"):
            raise ValueError(
                f"the pipeline's {name} is compiled; give it back with pipe.{name} = pipe.{name}._orig_mod"
            )
    denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    if not isinstance(denoiser, UNet2DConditionModel if hasattr(pipe, "unet") else ModelMixin):
        raise UnknownArchitecture(f"no supported denoiser; {_describe(pipe)}")
    sites: list[Site] = []
    for kind in (kind for kind in SITE_KINDS if kind in kinds):
        found = list(_sites_of_kind(pipe, kind))
        if not found:
            raise UnknownArchitecture(f"no site of kind {kind}; {_describe(pipe)}")
        sites += found
    return tuple(sites)


def site_modules(pipe: DiffusionPipeline, sites: Iterable[Site]) -> dict[str, nn.Module]:
    """Look up the live module of every site, keyed by `site.name`.

    Raises:
        ValueError: the pipeline has no module at the path of a site.
    """
    modules: dict[str, nn.Module] = {}
    for site in sites:
        try:
            modules[site.name] = getattr(pipe, site.component).get_submodule(site.module_path)
        except AttributeError as error:
            raise ValueError(
                f"{type(pipe).__name__} has no module {site.component}.{site.module_path}; "
                "find the sites of this pipeline"
            ) from error
    return modules


class _Rule(NamedTuple):
    """Sites of `kind`: the submodule `suffix` of every matching module, in components named `components`…."""

    kind: str
    components: str | tuple[str, ...]
    matches: Callable[[nn.Module], bool]
    suffix: str
    reads: Reads


def _is_clip_mlp(module: nn.Module) -> bool:
    return type(module).__name__ == "CLIPMLP"


def _is_t5_mlp(module: nn.Module) -> bool:
    return type(module).__name__ in ("T5DenseActDense", "T5DenseGatedActDense")


def _is_bert_mlp(module: nn.Module) -> bool:
    return type(module).__name__ in ("BertOutput", "RobertaOutput", "XLMRobertaOutput")


def is_text_cross_attention(module: nn.Module) -> TypeGuard[Attention]:
    """Return whether a module attends to text; not with added projections, whose `to_k` and `to_v` see the image."""
    return isinstance(module, Attention) and module.is_cross_attention and module.added_kv_proj_dim is None


def _is_feed_forward(module: nn.Module) -> bool:
    return isinstance(module, FeedForward)


_RULES = (
    _Rule("text_mlp", _TEXT_ENCODER, _is_clip_mlp, "fc2", "input"),
    _Rule("text_mlp", _TEXT_ENCODER, _is_t5_mlp, "wo", "input"),
    _Rule("text_mlp", _TEXT_ENCODER, _is_bert_mlp, "dense", "input"),
    _Rule("cross_k", _DENOISERS, is_text_cross_attention, "to_k", "output"),
    _Rule("cross_v", _DENOISERS, is_text_cross_attention, "to_v", "output"),
    _Rule("cross_out", _DENOISERS, is_text_cross_attention, "to_out.0", "input"),
    _Rule("feed_forward", _DENOISERS, _is_feed_forward, "net.2", "input"),
)


def _components(pipe: DiffusionPipeline) -> dict[str, nn.Module]:
    """Return the pipeline's modules by name, text encoders in order of their number."""
    return {name: part for name, part in sorted(pipe.components.items()) if isinstance(part, nn.Module)}


def _sites_of_kind(pipe: DiffusionPipeline, kind: str) -> Iterator[Site]:
    for rule in (rule for rule in _RULES if rule.kind == kind):
        for component, root in _components(pipe).items():
            if not component.startswith(rule.components):
                continue
            for path, module in root.named_modules():
                if rule.matches(module):
                    _refuse_fused_projections(module, f"{component}.{path}")
                    yield _site(component, root, f"{path}.{rule.suffix}", rule)


def _refuse_fused_projections(module: nn.Module, path: str) -> None:
    # Unfusing leaves `to_kv` and the `fused_projections` flag behind; only the processor shows which projections run.
    if isinstance(getattr(module, "processor", None), FusedAttnProcessor2_0):
        raise ValueError(
            f"{path} runs on the fused projection to_kv, so to_k and to_v never fire; "
            "call unfuse_qkv_projections() first"
        )


def _site(component: str, root: nn.Module, module_path: str, rule: _Rule) -> Site:
    module = root.get_submodule(module_path)
    linear = getattr(module, "base_layer", module)  # an adapter wraps the layer, whose sizes these are
    n_neurons = int(getattr(linear, "in_features" if rule.reads == "input" else "out_features"))
    normalised = module_path.removeprefix("text_model.")  # presence depends on the transformers version and class
    return Site(f"{component}.{normalised}", component, module_path, rule.kind, n_neurons, rule.reads)


def _describe(pipe: DiffusionPipeline) -> str:
    components = ", ".join(f"{name}={type(part).__name__}" for name, part in _components(pipe).items())
    return (
        f"found in {type(pipe).__name__}: {components}; supported: unet=UNet2DConditionModel (not compiled) with "
        "text cross-attention or a transformer with feed-forward layers, and CLIP, T5 or BERT text encoders"
    )
