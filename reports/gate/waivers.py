"""Waivers: findings that a named person accepts until a given day. After that day the findings count again."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.checks.findings import IMAGE, Finding
from flashbulb.reports.gate.toml_file import NO_FINGERPRINT, TomlFileError, parse_toml, read_toml
from flashbulb.reports.tables.files import write_text

Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Words = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\w")]


class Waiver(BaseModel):
    """One `[[waiver]]` entry, valid through the day `expires`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    fingerprint: Fingerprint
    reason: Words
    owner: Words
    expires: date
    images: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Names of the training images whose copies are accepted; without any, whatever the prompt gives is."""

    def covers(self, finding: Finding) -> bool:
        """Return whether the waiver is of this finding, and of every image that its prompt gives.

        An image is compared by the training image nearest to it, also where it is no copy; unnamed ones are accepted.
        """
        nearest = (image.nearest for image in finding.images)
        names = {near.name for near in nearest if near is not None} - {None}
        return self.fingerprint == finding.fingerprint and (not self.images or names <= {*self.images})

    def is_expired(self, today: date) -> bool:
        """Return whether the last day is over."""
        return today > self.expires


class _WaiverFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    waiver: tuple[Waiver, ...] = ()

    @model_validator(mode="after")
    def _refuse_duplicates(self) -> "_WaiverFile":
        fingerprints = [waiver.fingerprint for waiver in self.waiver]
        duplicates = sorted({fingerprint for fingerprint in fingerprints if fingerprints.count(fingerprint) > 1})
        if duplicates:
            raise ValueError(f"{duplicates[0]} is waived twice; keep one of its waivers")
        return self


class AppliedWaivers(NamedTuple):
    """Waivers in force by fingerprint, findings whose waiver has expired or is of other images, and unused waivers."""

    waived: dict[str, Waiver]
    expired: tuple[tuple[Finding, Waiver], ...]
    outgrown: tuple[tuple[Finding, Waiver], ...]
    unused: tuple[Waiver, ...]


def copied_names(finding: Finding) -> set[str]:
    """Return the names of the training images that a finding copies; none if one of its images is no copy."""
    nearest = [image.nearest for image in finding.images]
    names = {near.name for near in nearest if near is not None and near.kind is not None and near.name is not None}
    return names if all(near is not None and near.kind is not None for near in nearest) else set()


def today_in_utc() -> date:
    """Return today's date in UTC, so that a waiver expires on every machine at once."""
    return datetime.now(UTC).date()


def not_before(finished: str | None, today: date) -> date:
    """Return today, or the day on which an audit was finished if that is later: a clock may be behind.

    Without this, a waiver that has expired would hold again on a machine whose clock starts in 1970.
    """
    try:
        return max(today, datetime.fromisoformat(finished or "").astimezone(UTC).date())
    except (ValueError, OverflowError):  # no time, or none that we wrote
        return today


def apply_waivers(waivers: Sequence[Waiver], findings: Sequence[Finding], today: date) -> AppliedWaivers:
    """Match waivers with findings. A waiver that has expired, or that is of other images, waives nothing."""
    by_fingerprint = {waiver.fingerprint: waiver for waiver in waivers}
    matches = [(f, by_fingerprint[f.fingerprint]) for f in findings if f.fingerprint in by_fingerprint]
    used = {waiver.fingerprint for _, waiver in matches}
    return AppliedWaivers(
        waived={f.fingerprint: waiver for f, waiver in matches if waiver.covers(f) and not waiver.is_expired(today)},
        expired=tuple((finding, waiver) for finding, waiver in matches if waiver.is_expired(today)),
        outgrown=tuple((f, waiver) for f, waiver in matches if not waiver.covers(f) and not waiver.is_expired(today)),
        unused=tuple(waiver for waiver in waivers if waiver.fingerprint not in used),
    )


class WaiverState(NamedTuple):
    """A waiver, whether it has expired, and whether it covers no finding (None if no run was given)."""

    waiver: Waiver
    is_expired: bool
    is_unused: bool | None


def waiver_states(
    waivers: Sequence[Waiver], findings: Sequence[Finding] | None, today: date
) -> tuple[WaiverState, ...]:
    """Return the state of each waiver, compared with the findings of a run if they are given."""
    return tuple(
        WaiverState(
            waiver, waiver.is_expired(today), None if findings is None else not any(map(waiver.covers, findings))
        )
        for waiver in waivers
    )


def waiver_notes(applied: AppliedWaivers) -> tuple[str, ...]:
    """Return a sentence for each waiver that has expired, is of other images, or is unused."""
    expired = (
        f"Expired waiver {waiver.fingerprint} by {waiver.owner}, until {waiver.expires}: "
        f"the {'recovered image' if finding.kind == IMAGE else 'spike'} ({finding.location}) counts again."
        for finding, waiver in applied.expired
    )
    outgrown = (
        f"Waiver {waiver.fingerprint} by {waiver.owner} is of {count_text(len(waiver.images), 'training image')}, and "
        f"the prompt ({finding.location}) gives another image: it counts again."
        for finding, waiver in applied.outgrown
    )
    unused = (
        f"Unused waiver {waiver.fingerprint} by {waiver.owner}, until {waiver.expires}: "
        "the run has no such finding; remove the waiver."
        for waiver in applied.unused
    )
    return (*expired, *outgrown, *unused)


def read_waivers(path: Path | None) -> tuple[Waiver, ...]:
    """Read a file of waivers. Without a file there are none."""
    return () if path is None else read_toml(path, _WaiverFile).waiver


def new_waiver(fingerprint: str, reason: str, owner: str, expires: date, today: date) -> Waiver:
    """Build a waiver from what a person typed.

    Raises:
        TomlFileError: a value is invalid, or the waiver would already have expired.
    """
    try:
        waiver = Waiver(fingerprint=fingerprint, reason=reason, owner=owner, expires=expires)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "string_pattern_mismatch" and first["loc"] == ("fingerprint",):
            raise TomlFileError(NO_FINGERPRINT.format(fingerprint)) from error
        raise TomlFileError(f"{first['loc'][0]}: {first['msg'].lower()}, got {first['input']!r}") from error
    if waiver.is_expired(today):
        raise TomlFileError(f"expires: {expires} is in the past, today is {today}; give a later day")
    return waiver


def add_waiver(path: Path, waiver: Waiver) -> None:
    """Append a waiver to a file, which may not exist yet. The existing text is not changed.

    Raises:
        TomlFileError: the file cannot be read or extended, or it already waives the finding.
    """
    old_text, old_waivers = "", tuple[Waiver, ...]()
    if path.exists():
        old_waivers, old_text = read_waivers(path), path.read_bytes().decode()
    if any(old.fingerprint == waiver.fingerprint for old in old_waivers):
        raise TomlFileError(f"{path} already waives {waiver.fingerprint}; change that waiver instead")
    gap = "" if not old_text else "\n" if old_text.endswith("\n") else "\n\n"
    text = old_text + gap + waiver_toml(waiver)
    try:
        parse_toml(text, path, _WaiverFile)
    except TomlFileError as error:  # `waiver = [...]` is valid TOML, but [[waiver]] cannot extend it
        raise TomlFileError(f"{path} cannot be appended to ({error}); write each waiver as [[waiver]]") from error
    write_text(path, text)


def waiver_toml(waiver: Waiver) -> str:
    """Write a waiver as a `[[waiver]]` entry in TOML."""
    texts = {name: getattr(waiver, name) for name in ("fingerprint", "reason", "owner")}
    lines = [f"{name} = {_quoted(text)}" for name, text in texts.items()]
    images = [f"images = [{', '.join(map(_quoted, waiver.images))}]"] if waiver.images else []
    return "\n".join(["[[waiver]]", *lines, f"expires = {waiver.expires.isoformat()}", *images]) + "\n"


def _quoted(text: str) -> str:
    """Quote a TOML string. Its escapes are those of JSON, except that TOML also escapes DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
