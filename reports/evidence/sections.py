"""The sections of the annex on what was done and found: attacks, access, measure, frame, controls and power."""

from collections.abc import Mapping
from typing import Any

from flashbulb.reports.bounds.rates import percent, rate_of, rate_text
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.evidence.attacks import attacks_of
from flashbulb.reports.evidence.document import Block, Cell, Points, Quoted, Section, Table
from flashbulb.reports.evidence.measured import MEASURED_ERRORS, SENSITIVITY
from flashbulb.reports.evidence.optional_parts import CANARIES, FRAME, MACHINE, POWER, PROPENSITY, blocks_of
from flashbulb.reports.tables.limits import CONFIRMED_AT, REPLICATION_DISTANCE
from flashbulb.reports.tables.run_record import RunRecord

_BUDGET_NOTE = (
    "An evaluation is one call of the denoiser for one latent; guidance takes two. An attacker with more evaluations, "
    "other prompts or another method may extract more."
)


def results_section(run: CheckedRun, parts: Mapping[str, Any]) -> Section:
    """State the counts with their intervals, capability and propensity apart."""
    record, counts = run.record, run.record.counts
    likely = len({finding.image for finding in run.findings if finding.verdict == "likely"})
    rows = (
        ("Distinct images confirmed as extractable", rate_text(rate_of(counts.n_confirmed_pictures, counts.n_scored))),
        ("Further distinct images that are likely", f"{likely:,}"),
        ("Prompts that gave an image", rate_text(rate_of(counts.n_recovered, counts.n_scored))),
        ("Prompts flagged", rate_text(rate_of(counts.n_flagged, counts.n_scored))),
        ("Flags expected by chance", f"{record.calibration.fpr * counts.n_scored:.1f}"),
        ("Flagged prompts that recovery was not tried on", f"{run.results.n_untried or 0:,}"),
    )
    capability = (
        "Capability is what an attacker with the access below brought out. Shares are of the audited prompts; each "
        "distinct image counts once, however many prompts lead to it.",
        Table(("capability", "count, share and 95 % interval"), rows),
    )
    return Section(
        "What was extractable",
        (*capability, "Propensity is what ordinary prompts bring out by themselves.", *blocks_of(parts, PROPENSITY)),
    )


def attacks_section(run: CheckedRun, parts: Mapping[str, Any]) -> Section:
    """List every class of attack."""
    attacks = attacks_of(run, PROPENSITY in parts)
    header = ("attack", "needs", "status", "protocol and outcome, or the reason")
    return Section(
        "Attacks run and not run",
        (
            "The result is evidence of resistance to the attacks that were run, under this protocol, and to no others.",
            Table(header, tuple(tuple(attack) for attack in attacks)),
        ),
    )


def access_section(record: RunRecord) -> Section:
    """State what the attacker of this audit has and spends."""
    rows: list[tuple[Cell, ...]] = [(Quoted(stage), f"{n:,}") for stage, n in record.evaluations.items()]
    rows.append(("all", f"{sum(record.evaluations.values()):,}"))
    return Section(
        "The attacker's access and budget",
        (
            "The audit had the weights: it read activations and gradients, and chose prompts, seeds and guidance "
            "freely. It is stronger than a user of an interface, and weaker than an attacker with more time.",
            Table(("stage", "denoiser evaluations"), tuple(rows)),
            _BUDGET_NOTE,
        ),
    )


def protocol_section(record: RunRecord, parts: Mapping[str, Any]) -> Section:
    """State seeds, guidance, scheduler and steps, then every other setting that results depend on."""
    settings = record.settings
    named = {
        "seed": "Seed of the run, from which every other seed derives",
        "n_seeds": "Seeds a prompt in the recording",
        "n_samples": "Seeds a prompt in sampling",
        "guidance_scale": "Guidance scale",
        "sample_steps": "Steps of sampling",
        "num_inference_steps": "Steps of the schedule whose first one is recorded",
        "fpr": "Stated false-positive rate of the flags",
        "max_sampled": "Flagged prompts that recovery is tried on, at most",
    }
    ran_with = {"dtype": "Data type", "device": "Device"}
    rows = tuple((text, Quoted(str(settings.get(name, "not recorded")))) for name, text in named.items())
    machine = tuple((text, Quoted(str(parts[MACHINE].get(name, "not recorded")))) for name, text in ran_with.items())
    scheduler = ("Scheduler", "that of the model, which its fingerprint covers")
    return Section(
        "Protocol",
        (
            Table((), (*rows, *machine, scheduler)),
            "run.json holds all settings, which repeat the run.",
        ),
    )


def similarity_section(record: RunRecord) -> Section:
    """Define when an image counts, and state how often that is wrong."""
    descriptor = record.settings.get("descriptor")
    compared = (
        "No training images were given. An image is confirmed if a calibrated probability, from signs of the generated "
        f"images alone, is at least {CONFIRMED_AT:g}; it was not compared with any training image."
        if record.settings.get("train_images") is None
        else "An image is confirmed if it copies an entire training image: the root mean square difference of pixels "
        f"in the worst of 4 by 4 tiles is at most {REPLICATION_DISTANCE:g} (0 to 1; Carlini et al. 2023) and the "
        "brightness correlates, after a search for mirrored, cropped and shifted copies."
    )
    learnt: Block = (
        "No learned descriptor was used."
        if descriptor is None
        else Table((), (("Learned descriptor used beside it", Quoted(str(descriptor))),))
    )
    return Section("When an image counts, and how often that is wrong", (compared, learnt, Points(MEASURED_ERRORS)))


def frame_section(record: RunRecord, parts: Mapping[str, Any]) -> Section:
    """State which prompts were audited and how they were chosen."""
    counts = record.counts
    rows = (
        ("Rows of the prompt file", f"{counts.n_rows:,}"),
        ("Distinct prompts", f"{counts.n_prompts:,}"),
        ("Prompts scored (N)", f"{counts.n_scored:,}"),
        ("Of them screened by the text side alone", f"{counts.n_left_out:,}"),
        ("Cut by the tokenizer", f"{counts.n_truncated:,}"),
    )
    return Section("Sampling frame and N", (Table((), rows), *blocks_of(parts, FRAME)))


def controls_section(record: RunRecord, parts: Mapping[str, Any]) -> Section:
    """State what the audit shows on prompts that are clean, and on images that are known to be there."""
    auc = record.calibration.style_auc
    negative = (
        ("Controls (unflagged prompts, same recovery) that gave an image", rate_text(record.false_recovery)),
        (
            f"Text alone separates flagged from {record.compared_with} prompts (AUC, 0.5: not at all)",
            "not measured" if auc is None else f"{auc:.2f}",
        ),
        ("Stated false-positive rate of the flags", percent(record.calibration.fpr)),
    )
    return Section(
        "Negative and positive controls",
        (
            Table(("negative control", "result"), negative),
            "Positive control in this model (canaries):",
            *blocks_of(parts, CANARIES),
            SENSITIVITY,
        ),
    )


def power_section(parts: Mapping[str, Any]) -> Section:
    """State what this audit could have found."""
    return Section("Power", blocks_of(parts, POWER))
