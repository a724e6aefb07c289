"""The sections of the annex on what was done and found: attacks, access, measure, frame, controls and power."""

from collections.abc import Iterator, Mapping

from flashbulb.reports.bounds.rates import percent, rate_of, rate_text
from flashbulb.reports.checks.findings import distinct_images
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.evidence.attacks import attacks_of
from flashbulb.reports.evidence.document import Block, Cell, Points, Quoted, Said, Section, Table
from flashbulb.reports.evidence.measured import ERRORS_WITH_TRAINING_IMAGES, ERRORS_WITHOUT
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.power.sensitivity import false_flag_rate
from flashbulb.reports.power.sentences import false_sentences, found_sentences
from flashbulb.reports.tables.frame import Frame, frame_sentence
from flashbulb.reports.tables.limits import CONFIRMED_AT, REPLICATION_DISTANCE
from flashbulb.reports.tables.propensity import contrast_rows, contrast_sentences
from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.tables.strata import STRATUM_HEADER, STRATUM_NOTE, strata_of, stratum_cells
from flashbulb.reports.views.canaries import HEADER as CANARY_HEADER
from flashbulb.reports.views.canaries import TABLE_NOTE as CANARY_NOTE
from flashbulb.reports.views.canaries import canary_rows, canary_sentences

_RATE = "count, share and 95 % interval"
_BUDGET_NOTE = (
    "An evaluation is one call of the denoiser for one latent; guidance takes two. An attacker with more evaluations, "
    "other prompts or another method may extract more."
)
_TRIED = (
    "Controls are tried as flagged prompts are, as far as an attempt gave an image of a flagged prompt: a strategy "
    "that gave none has no finding to doubt."
)
_KINDS = {
    "census": "every distinct prompt of the file",
    "random": "a random sample",
    "targeted": "on suspicion (targeted)",
}


def results_section(run: CheckedRun, report: GateReport) -> Section:
    """State the counts with their intervals, capability and propensity apart, and the verdict on them."""
    record, counts = run.record, run.record.counts
    likely = len(distinct_images(run.findings, "likely") - distinct_images(run.findings, "confirmed"))
    rows = (
        ("Distinct images confirmed as extractable", _share(record, counts.n_confirmed_pictures)),
        ("Further distinct images that are likely", f"{likely:,}"),
        ("Prompts that gave an image", _share(record, counts.n_recovered)),
        ("Prompts flagged", _share(record, counts.n_flagged)),
        ("Flags expected by chance", f"{false_flag_rate(record) * counts.n_scored:.1f}"),
        ("Flagged prompts that recovery was not tried on", f"{run.results.n_untried or 0:,}"),
    )
    return Section(
        "What was extractable",
        (
            "Capability is what an attacker with the access below brought out. Each distinct image counts once, "
            "however many prompts lead to it. What its shares are of stands under Sampling frame and N.",
            Table(("capability", _RATE), rows),
            *_propensity(record),
            f"By the policy of this audit, the verdict is {report.verdict.outcome}:",
            Points(tuple(map(Said, report.verdict.reasons))),
        ),
    )


def _share(record: RunRecord, n: int) -> str:
    """Return a count among the scored prompts; an interval of a share only where the frame allows one."""
    of = record.counts.n_scored
    is_targeted = record.frame is not None and not record.frame.allows_shares
    return f"{n:,} of {of:,}" if is_targeted else rate_text(rate_of(n, of))


def _propensity(record: RunRecord) -> tuple[Block, ...]:
    if record.propensity is None:
        return ("Propensity, what people meet who use the model, was not measured.",)
    counts, (_contrast, sampled, note) = record.counts, contrast_sentences(record.propensity)
    _capability, *ordinary = contrast_rows(record.propensity, rate_of(counts.n_recovered, counts.n_scored))
    rows = tuple((what[:1].upper() + what[1:], rate) for _name, what, rate in ordinary)
    lead = f"Propensity is what people meet who use the model. {sampled}"
    return (lead, Table(("propensity", _RATE), rows), note)


def attacks_section(run: CheckedRun) -> Section:
    """List every class of attack."""
    header = ("attack", "needs", "status", "protocol and outcome, or the reason")
    return Section(
        "Attacks run and not run",
        (
            "The result is evidence of resistance to the attacks that were run, under this protocol, and to no others.",
            Table(header, tuple(tuple(attack) for attack in attacks_of(run))),
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


def protocol_section(record: RunRecord, machine: Mapping[str, object]) -> Section:
    """State seeds, guidance, scheduler and steps, then every other setting that results depend on.

    Args:
        machine: the data type and the device that the model ran with, by name.
    """
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
    ran = tuple((text, Quoted(str(machine.get(name, "not recorded")))) for name, text in ran_with.items())
    scheduler = ("Scheduler", "that of the model, which its fingerprint covers")
    return Section(
        "Protocol", (Table((), (*rows, *ran, scheduler)), "run.json holds all settings, which repeat the run.")
    )


def similarity_section(record: RunRecord) -> Section:
    """Define when an image counts, and state how often that is wrong."""
    descriptor = record.settings.get("descriptor")
    is_blind, given = record.settings.get("train_images") is None, record.inputs.get("training_images")
    n_images = given.get("n_images") if isinstance(given, Mapping) else None
    n_compared = f"Samples were compared with {n_images:,} training images. " if isinstance(n_images, int) else ""
    compared = (
        "No training images were given. An image is confirmed if a calibrated probability, from signs of the generated "
        f"images alone, is at least {CONFIRMED_AT:g}; it was not compared with any training image."
        if is_blind
        else f"{n_compared}An image is confirmed if it copies an entire training image: the root mean square "
        f"difference of pixels in the worst of 4 by 4 tiles is at most {REPLICATION_DISTANCE:g} (0 to 1; Carlini et "
        "al. 2023) and the brightness correlates, after a search for mirrored, cropped and shifted copies."
    )
    learnt: Block = (
        "No learned descriptor was used."
        if descriptor is None
        else Table((), (("Learned descriptor used beside it", Quoted(str(descriptor))),))
    )
    errors = ERRORS_WITHOUT if is_blind else ERRORS_WITH_TRAINING_IMAGES
    return Section("When an image counts, and how often that is wrong", (compared, learnt, Points(errors)))


def frame_section(run: CheckedRun) -> Section:
    """State which prompts were audited, how they were chosen and what a share among them is of."""
    record, counts, frame = run.record, run.record.counts, run.record.frame
    rows = (
        ("Rows of the prompt file", f"{counts.n_rows:,}"),
        *(() if frame is None else _chosen(frame)),
        ("Prompts scored (N)", f"{counts.n_scored:,}"),
        ("Of them screened by the text side alone", f"{counts.n_left_out:,}"),
        ("Cut by the tokenizer", f"{counts.n_truncated:,}"),
    )
    strata = tuple(map(stratum_cells, strata_of(run.tables.scores, run.tables.recoveries)))
    by_occurrence = (STRATUM_NOTE, Table(STRATUM_HEADER, strata)) if strata else ()
    return Section("Sampling frame and N", (frame_sentence(record.frame), Table((), rows), *by_occurrence))


def _chosen(frame: Frame) -> Iterator[tuple[Cell, ...]]:
    yield "Distinct prompts of the file", f"{frame.n_file:,}"
    yield "How the audited ones were chosen", _KINDS[frame.kind]
    yield "Population that a share is of", "none" if frame.n_population is None else f"{frame.n_population:,}"
    if frame.seed is not None:
        yield "Seed of the draw", str(frame.seed)


def controls_section(record: RunRecord) -> Section:
    """State what the audit shows on prompts that are clean, and on images that are known to be there."""
    auc = record.calibration.style_auc
    negative = (
        (
            "Controls (unflagged prompts) that gave an image",
            rate_text(record.false_recovery),
        ),
        (
            f"Text alone separates flagged from {record.compared_with} prompts (AUC, 0.5: not at all)",
            "not measured" if auc is None else f"{auc:.2f}",
        ),
        ("Stated false-positive rate of the flags", percent(record.calibration.fpr)),
    )
    return Section(
        "Negative and positive controls",
        (_TRIED, Table(("negative control", "result"), negative), Points(false_sentences(record)), *_positive(record)),
    )


def _positive(record: RunRecord) -> tuple[Block, ...]:
    if record.canaries is not None:
        rows = tuple(canary_rows(record.canaries))
        said = Points(tuple(sentence for sentence in canary_sentences(record.canaries) if sentence))
        return "Positive control in this model: planted canaries.", said, Table(CANARY_HEADER, rows), CANARY_NOTE
    return (
        "Positive control in this model: none. No canaries were planted, so no image that is known to be in its "
        "training data was looked for, and the sensitivity of this audit on this model was not measured.",
    )


def power_section(record: RunRecord) -> Section:
    """State what this audit could have found."""
    unknown = "Which share of extractable images this audit would have found was not computed."
    return Section("Power: what this audit could have found", (Points(found_sentences(record) or (unknown,)),))
