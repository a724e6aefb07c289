"""Refuse settings that lack something or contradict each other, before the model is loaded."""

from __future__ import annotations

from importlib.util import find_spec

from flashbulb.audit.recover.strategies import find_strategies
from flashbulb.audit.settings import AuditSettings, SettingsError, TrainingImageSettings
from flashbulb.hooks import PROMPT_SITE_KINDS


def check_combinations(settings: AuditSettings) -> None:
    """Refuse settings of an audit that lack something or contradict each other."""
    check_baseline_model(settings)
    check_training_images(settings)
    check_tiers(settings)
    check_canaries(settings)
    check_layout(settings)
    check_strategies(settings)
    check_workers(settings)


def check_tiers(settings: AuditSettings) -> None:
    """Refuse --tiers screened without a reference or without prompt sites."""
    if settings.tiers == "full":
        return
    if settings.reference is None and settings.calibration is None:
        raise SettingsError("--tiers screened needs a reference; give --reference or --calibration")
    if not PROMPT_SITE_KINDS.intersection(settings.sites):
        raise SettingsError(f"--tiers screened needs one of --sites {', '.join(sorted(PROMPT_SITE_KINDS))}")
    if settings.baseline_model is not None and settings.batch_size == "auto":
        raise SettingsError(
            "--tiers screened with --baseline-model subtracts what both models read in equal batches, before the model "
            "is at hand for --batch-size auto; give a number"
        )


def check_frame(settings: AuditSettings, source: str, n_distinct: int) -> None:
    """Refuse statements on the prompt file that exclude each other, or that its number of prompts contradicts."""
    if settings.population is None:
        return
    if settings.targeted:
        raise SettingsError(
            "--targeted says that the prompts were chosen on suspicion, --population that they are a random sample; "
            "give one of them"
        )
    if settings.population < n_distinct:
        raise SettingsError(
            f"--population {settings.population}: {source} cannot be a random sample of fewer prompts than its own "
            f"{n_distinct} distinct ones; give the number of distinct prompts that it was drawn from"
        )


def check_baseline_model(settings: AuditSettings) -> None:
    """Refuse --baseline-model with a calibration, which is recorded on the fine-tune alone."""
    if settings.baseline_model is not None and settings.calibration is not None:
        raise SettingsError(
            "--baseline-model needs reference prompts recorded on both models, and --calibration holds those of one; "
            "give --reference in its place"
        )


def check_canaries(settings: AuditSettings) -> None:
    """Refuse --canaries with --tiers screened, which would leave canaries out by a rule of their own."""
    if settings.canaries is not None and settings.tiers == "screened":
        raise SettingsError(
            "--canaries are recorded in full, so they say nothing of --tiers screened; give --tiers full"
        )


def check_layout(settings: AuditSettings) -> None:
    """Refuse --layout bulk with a base: differences from it need all activations of both models."""
    if settings.layout == "bulk" and settings.baseline_model is not None:
        raise SettingsError(
            "--baseline-model compares neurons of both models, which --layout bulk does not keep; give --layout dense, "
            "and audit a random --sample where the set is too large for it"
        )


def check_workers(settings: AuditSettings) -> None:
    """Refuse an address without Ray, and what Ray lacks or cannot do.

    That is its package, a number of actors, the address of a cluster rather than of its client, and any GPU.
    """
    address = settings.ray_address
    if settings.executor == "local":
        if address is not None:
            raise SettingsError(f"--ray-address {address} needs --executor ray; give both or neither")
        return
    if settings.workers == "auto":
        raise SettingsError(
            "--workers auto counts the cores and GPUs of this machine only; give a number of actors of Ray"
        )
    if find_spec("ray") is None:
        raise SettingsError("--executor ray needs Ray; run `pip install 'flashbulb[ray]'`")
    if address is not None and address.startswith("ray://"):
        raise SettingsError(
            f"--ray-address {address} is for the client of Ray; run the command on a machine of the cluster, and give "
            "host:6379 or auto"
        )
    if settings.device.startswith("cuda:"):
        raise SettingsError(f"--device {settings.device} names a GPU of one machine, Ray chooses; give --device cuda")


def check_strategies(settings: AuditSettings) -> None:
    """Refuse strategies whose prerequisites are missing."""
    found = find_strategies()
    first = next(iter(found))
    if first not in settings.strategies:
        raise SettingsError(f"--strategy: every recovery starts with {first}; add it")
    for name in settings.strategies:
        missing = found[name].missing(dict(settings))
        if missing is not None:
            raise SettingsError(missing)


def check_training_images(settings: TrainingImageSettings) -> None:
    """Refuse a missing --train-images or one that holds --out, and --descriptor without weights or training images."""
    source, out = settings.train_images, getattr(settings, "out", None)
    if source is not None and not source.exists():
        raise SettingsError(f"no {source}; give --train-images a folder, a .tar or an index of training images")
    if source is not None and out is not None and out.resolve().is_relative_to(source.resolve()):
        raise SettingsError(
            f"{out} lies in {source}, so its samples would count as training images; choose another --out"
        )
    if (settings.descriptor is None) != (settings.descriptor_weights is None):
        raise SettingsError("--descriptor and --descriptor-weights belong together; give both or neither")
    if settings.descriptor is not None and source is None:
        raise SettingsError("--descriptor needs training images; give --train-images")
