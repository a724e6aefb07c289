"""Hooks on a live pipeline: find its sites, observe, record or edit their neurons, reduce and store activations."""

from flashbulb.hooks.ablate import By, ablate, replace_neurons
from flashbulb.hooks.capture import SiteDidNotFire, capture, observe
from flashbulb.hooks.columns import as_read
from flashbulb.hooks.files import DamagedFile
from flashbulb.hooks.guidance import GuidanceLayout
from flashbulb.hooks.neuron_set import NeuronSet, load_neurons, save_neurons, sites_of
from flashbulb.hooks.patching import Recording, patch, record_neurons
from flashbulb.hooks.recorder import NonFiniteActivation, check_finite, record
from flashbulb.hooks.reduce import SPACE_REDUCTIONS, TokenReducer, over_space, over_tokens
from flashbulb.hooks.sites import (
    PROMPT_SITE_KINDS,
    SITE_KINDS,
    Reads,
    Site,
    UnknownArchitecture,
    find_sites,
    site_modules,
)
from flashbulb.hooks.store import (
    FingerprintMismatch,
    NewerSchema,
    ShardManifest,
    activation_columns,
    complete_shards,
    read_activations,
    read_manifest,
    write_shard,
)
from flashbulb.hooks.tokens import TOKEN_REDUCTIONS, TokenClass, token_classes

__all__ = [
    "PROMPT_SITE_KINDS",
    "SITE_KINDS",
    "SPACE_REDUCTIONS",
    "TOKEN_REDUCTIONS",
    "By",
    "DamagedFile",
    "FingerprintMismatch",
    "GuidanceLayout",
    "NeuronSet",
    "NewerSchema",
    "NonFiniteActivation",
    "Reads",
    "Recording",
    "ShardManifest",
    "Site",
    "SiteDidNotFire",
    "TokenClass",
    "TokenReducer",
    "UnknownArchitecture",
    "ablate",
    "activation_columns",
    "as_read",
    "capture",
    "check_finite",
    "complete_shards",
    "find_sites",
    "load_neurons",
    "observe",
    "over_space",
    "over_tokens",
    "patch",
    "read_activations",
    "read_manifest",
    "record",
    "record_neurons",
    "replace_neurons",
    "save_neurons",
    "site_modules",
    "sites_of",
    "token_classes",
    "write_shard",
]
