"""Instruments on the model: find its sites, watch or record them, reduce and store what they did."""

from hooks.capture import SiteDidNotFire, capture, observe
from hooks.recorder import NonFiniteActivation, check_finite, record
from hooks.reduce import (
    SPACE_REDUCTIONS,
    TOKEN_REDUCTIONS,
    TokenClass,
    over_space,
    over_tokens,
    token_classes,
)
from hooks.sites import PROMPT_SITE_KINDS, SITE_KINDS, Reads, Site, UnknownArchitecture, find_sites, site_modules
from hooks.store import (
    FingerprintMismatch,
    NewerSchema,
    ShardManifest,
    activation_columns,
    complete_shards,
    read_activations,
    read_manifest,
    write_shard,
)

__all__ = [
    "PROMPT_SITE_KINDS",
    "SITE_KINDS",
    "SPACE_REDUCTIONS",
    "TOKEN_REDUCTIONS",
    "FingerprintMismatch",
    "NewerSchema",
    "NonFiniteActivation",
    "Reads",
    "ShardManifest",
    "Site",
    "SiteDidNotFire",
    "TokenClass",
    "UnknownArchitecture",
    "activation_columns",
    "capture",
    "check_finite",
    "complete_shards",
    "find_sites",
    "observe",
    "over_space",
    "over_tokens",
    "read_activations",
    "read_manifest",
    "record",
    "site_modules",
    "token_classes",
    "write_shard",
]
