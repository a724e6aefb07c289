"""The annex on a finished audit for a data-protection officer, a regulator or a court: what it states and what not."""

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import PurePath

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.evidence.context import ReleaseContext
from flashbulb.reports.evidence.document import Annex, Cell, Points, Quoted, Said, Section, Table
from flashbulb.reports.evidence.sections import (
    access_section,
    attacks_section,
    controls_section,
    frame_section,
    power_section,
    protocol_section,
    results_section,
    similarity_section,
)
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.power.sentences import power_text
from flashbulb.reports.tables.propensity import propensity_line
from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.tables.schema import TableRow

MAX_IMAGES = 200
NO_ANONYMITY = "This is not a finding of anonymity: what this audit did not extract may still be extractable."
_INCONCLUSIVE = "This audit is inconclusive: it could have missed too much for its policy, as section 1 explains."

_REFERENCES = (
    (
        "EDPB Opinion 28/2024, paragraph 43",
        "The likelihood of extraction must be insignificant for any data subject. A share over many images does not "
        "show that for each of them.",
        "What was extractable; Power",
    ),
    (
        "EDPB Opinion 28/2024, paragraph 55",
        "Tests are evidence of resistance to the attacks that were tested, and to those only.",
        "Attacks run and not run",
    ),
    (
        "EDPB Opinion 28/2024, paragraph 134",
        "A mere assertion is not enough; it has to be backed by evidence that can be checked.",
        "Identification; How to check this annex",
    ),
    (
        "GPAI Code of Practice, copyright chapter, measure 1.4",
        "Providers mitigate the risk that a model reproduces protected works it was trained on. This audit measures "
        "such reproduction; it is no measure against it.",
        "What was extractable; Images of the findings",
    ),
    (
        "NIST AI 600-1 (generative AI profile)",
        "Privacy and intellectual-property risks of generated content are to be measured and documented.",
        "the whole annex",
    ),
)


def build_annex(
    run: CheckedRun,
    report: GateReport,
    context: ReleaseContext,
    machine: Mapping[str, object],
    labels: Labels,
    written: date,
) -> Annex:
    """Collect the annex of a checked and judged run.

    Args:
        machine: the data type and the device that the model ran with, by name.
        labels: how prompts, images and paths are named.
        written: the day on which the annex is written.
    """
    record = run.record
    sections = (
        results_section(run, report),
        attacks_section(run),
        _limits(run),
        _identification(record),
        _context(context),
        access_section(record),
        protocol_section(record, machine),
        similarity_section(record),
        frame_section(run),
        controls_section(record),
        power_section(record),
        _images(run, labels),
        Section("What rules ask, and where to look", (Table(("source", "what it asks", "see"), _REFERENCES),)),
        _checking(run),
    )
    marks: tuple[tuple[str, Cell], ...] = (
        ("Model", Quoted(labels.setting(record.model.name))),
        ("Audited", Quoted((record.finished or "not recorded")[:10])),
        ("Annex written", str(written)),
        ("Verdict by policy", f"{report.verdict.outcome}, for the reasons in section 1"),
        ("Power", "not computed" if record.power is None else power_text(record.power, record.frame)),
        ("Ordinary use", "not measured" if record.propensity is None else propensity_line(record.propensity)),
        ("Seal", Quoted(_seal_of(record))),
    )
    return Annex(labels.setting(record.model.name), _statement(record, report), marks, sections)


def _statement(record: RunRecord, report: GateReport) -> tuple[str, ...]:
    counts = record.counts
    n = counts.n_confirmed_pictures
    tried = f"with the {count_text(counts.n_scored, 'audited prompt')}, under the protocol stated below"
    if report.verdict.outcome == "untrusted":
        return ("This audit cannot be trusted, so nothing follows from its counts.", NO_ANONYMITY)
    found = f"{count_text(n, 'distinct image')} {'was' if n == 1 else 'were'}" if n else "No image was confirmed as"
    n_false = counts.n_false_recoveries
    false = f"{n_false:,} gave an image as well" if n_false else "none gave an image"
    controls = "No control was tried."
    if counts.n_controls:
        same = "recovered in the same way as far as that gave images of flagged prompts"
        controls = f"Of {count_text(counts.n_controls, 'control')}, {same}, {false}."
    rest = "" if n else " Other prompts, attacks or budgets may still extract images."
    weak = (_INCONCLUSIVE,) if report.verdict.outcome == "inconclusive" else ()
    return (f"{found} extractable {tried}.{rest}", controls, *weak, NO_ANONYMITY)


def _identification(record: RunRecord) -> Section:
    rows: list[tuple[Cell, ...]] = [
        ("Model weights and configuration", "fingerprint", Quoted(record.model.fingerprint))
    ]
    if record.base is not None:
        rows.append(("Base model", "fingerprint", Quoted(record.base.fingerprint)))
    for key, title in (
        ("prompts", "Prompts"),
        ("reference", "Reference prompts"),
        ("training_images", "Training images"),
    ):
        rows.append((title, *_source(record.inputs.get(key, "not recorded"))))
    versions = tuple((Quoted(name), Quoted(version)) for name, version in record.versions.items())
    return Section(
        "Identification",
        (
            Table(("what", "", "hash"), tuple(rows)),
            "The fingerprint has 64 bits. It tells models apart, but two models can be made to have the same one.",
            "The hash of the training images is over the perceptual hashes that samples are compared with and over "
            "where each image lies, not over the bytes of the files.",
            Table(("tool or library", "version"), versions),
            "Of the tool and its libraries the versions are recorded, and no hashes.",
        ),
    )


def _source(described: object) -> tuple[Cell, Cell]:
    """Return the file name, without its folder, and the hash of an input; or that there is none."""
    if not isinstance(described, Mapping):
        return "none given" if described is None else "not recorded", "–"
    name, sha256 = PurePath(str(described.get("source", ""))).name, described.get("sha256")
    return Quoted(name), "not opened: no prompt was flagged" if sha256 is None else Quoted(str(sha256))


def _context(context: ReleaseContext) -> Section:
    rows = tuple((name, "not stated" if value is None else Said(value)) for name, value in context.rows())
    note = "Stated by those who commissioned this annex. The audit did not check it, and the seal does not cover it."
    return Section("Release context", (note, Table((), rows)))


def _limits(run: CheckedRun) -> Section:
    record = run.record
    said: tuple[Cell, ...] = tuple(map(Said, (*record.problems, *record.warnings)))
    fixed = (
        NO_ANONYMITY,
        "Extractable means: the stated protocol brought the image out. An image that it did not bring out may be "
        "extractable by other prompts, other attacks or a larger budget.",
        "Flagged neurons show that a prompt recalls an image, not where in the model it is held; removing them does "
        "not remove it.",
        "Rates on few controls or prompts are uncertain; the intervals say by how much.",
    )
    return Section("Limits", (Points((*fixed, *said)),))


def _images(run: CheckedRun, labels: Labels) -> Section:
    rows = tuple(_image_rows(run, labels))
    if not rows:
        return Section("Images of the findings", ("No image came back.",))
    n_more = len(rows) - MAX_IMAGES
    more = (f"{n_more:,} more are in memories.parquet of the run.",) if n_more > 0 else ()
    lead = "The images themselves may be personal data and are not part of this annex. Each is named by its hash."
    header = ("image", "prompt", "verdict", "samples that show it", "similarity", "SHA-256 of the image")
    return Section("Images of the findings", (lead, Table(header, rows[:MAX_IMAGES]), *more))


def _image_rows(run: CheckedRun, labels: Labels) -> Iterator[tuple[Cell, ...]]:
    """Yield every image of every flagged prompt, then those without a prompt."""
    by_prompt = {finding.prompt_id: finding for finding in run.findings}
    for row in run.tables.memories.to_pylist():
        if not row["is_control"]:
            shown = f"{row['p_hits']:,} of {row['p_samples']:,}"
            yield _image_row(run, labels, by_prompt[row["prompt_id"]], row, shown)
    recoveries = run.tables.recoveries.to_pylist()
    unprompted = {row["finding_id"]: row for row in recoveries if row["prompt_id"] is None}
    for finding in run.findings:
        if finding.prompt_id is None and finding.image is not None:
            yield _image_row(run, labels, finding, unprompted[finding.image], "–")


def _image_row(run: CheckedRun, labels: Labels, finding: Finding, row: TableRow, shown: str) -> tuple[Cell, ...]:
    file = run.record.seal.files.get(str(row["image_path"])) if run.record.seal else None
    return (
        Quoted(str(row["finding_id"])),
        Said(labels.prompt(finding.prompt, finding.location, 120)),
        row["verdict"],
        shown,
        "–" if row["similarity"] is None else f"{row['similarity']:.2f}",
        "not kept" if file is None else Quoted(file.sha256),
    )


def _checking(run: CheckedRun) -> Section:
    digest = _seal_of(run.record)
    n_images = sum(name.startswith("images/") for name in (run.record.seal.files if run.record.seal else ()))
    return Section(
        "How to check this annex",
        (
            f"The seal is one hash over run.json, every table and {count_text(n_images, 'kept image')}. Whoever has "
            "the run directory compares all of them with it:",
            Quoted(f"flashbulb verify RUN --digest {digest}"),
            "The digest counts if it was received by another way than the run: with this annex, from a log, or from a "
            "time-stamping service. A signature does the same for who holds the public key: flashbulb verify RUN --key "
            "key.pub.",
            "This annex is written from the run by flashbulb report RUN --evidence, and can be written again.",
        ),
    )


def _seal_of(record: RunRecord) -> str:
    return f"sha256:{record.seal.digest}" if record.seal else "none"
