"""Waivers: findings that somebody answers for until a day, and what becomes of them after it."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reports.files import write_text
from reports.findings import Finding
from reports.toml_file import TomlFileError, parse_toml, read_toml

Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Words = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\w")]


class Waiver(BaseModel):
    """One `[[waiver]]`: it holds through the day `expires` and not a day longer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    fingerprint: Fingerprint
    reason: Words
    owner: Words
    expires: date

    def is_expired(self, today: date) -> bool:
        """Whether the last day is over."""
        return today > self.expires


class _WaiverFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    waiver: tuple[Waiver, ...] = ()

    @model_validator(mode="after")
    def _every_finding_once(self) -> "_WaiverFile":
        fingerprints = [waiver.fingerprint for waiver in self.waiver]
        twice = sorted({one for one in fingerprints if fingerprints.count(one) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is waived twice; keep one waiver of it")
        return self


class AppliedWaivers(NamedTuple):
    """What waivers do: `waived` by fingerprint, `returned` findings whose waiver has expired, `unused` waivers."""

    waived: dict[str, Waiver]
    returned: tuple[tuple[Finding, Waiver], ...]
    unused: tuple[Waiver, ...]


def today_in_utc() -> date:
    """The day in UTC, so that a waiver expires on every machine at once."""
    return datetime.now(UTC).date()


def apply_waivers(waivers: Sequence[Waiver], findings: Sequence[Finding], today: date) -> AppliedWaivers:
    """Match waivers with findings; a waiver that has expired waives nothing."""
    by_fingerprint = {waiver.fingerprint: waiver for waiver in waivers}
    met = [(one, by_fingerprint[one.fingerprint]) for one in findings if one.fingerprint in by_fingerprint]
    used = {waiver.fingerprint for _, waiver in met}
    return AppliedWaivers(
        waived={one.fingerprint: waiver for one, waiver in met if not waiver.is_expired(today)},
        returned=tuple((one, waiver) for one, waiver in met if waiver.is_expired(today)),
        unused=tuple(waiver for waiver in waivers if waiver.fingerprint not in used),
    )


class WaiverState(NamedTuple):
    """Whether a waiver's last day is over, and whether it waits for nothing; None where no findings are known."""

    waiver: Waiver
    is_expired: bool
    is_unused: bool | None


def states_of(waivers: Sequence[Waiver], findings: Sequence[Finding] | None, today: date) -> tuple[WaiverState, ...]:
    """The state of each waiver, held against the findings of a run where one is given."""
    present = None if findings is None else {finding.fingerprint for finding in findings}
    return tuple(
        WaiverState(one, one.is_expired(today), None if present is None else one.fingerprint not in present)
        for one in waivers
    )


def waiver_notes(applied: AppliedWaivers) -> tuple[str, ...]:
    """Sentences for every reader: which findings are back, which waivers wait for nothing."""
    back = (
        f"Back: {finding.kind} {finding.fingerprint} ({finding.place}); its waiver by {waiver.owner} "
        f"expired after {waiver.expires}."
        for finding, waiver in applied.returned
    )
    idle = (
        f"Unused waiver {waiver.fingerprint} by {waiver.owner}, until {waiver.expires}: no such finding; remove it."
        for waiver in applied.unused
    )
    return (*back, *idle)


def read_waivers(path: Path | None) -> tuple[Waiver, ...]:
    """Read a file of waivers; without one there are none."""
    return () if path is None else read_toml(path, _WaiverFile).waiver


def new_waiver(fingerprint: str, reason: str, owner: str, expires: date, today: date) -> Waiver:
    """A waiver that a person asks for; refused if it waives nothing."""
    try:
        waiver = Waiver(fingerprint=fingerprint, reason=reason, owner=owner, expires=expires)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise TomlFileError(f"{first['loc'][0]}: {first['msg'].lower()}, got {first['input']!r}") from error
    if waiver.is_expired(today):
        raise TomlFileError(f"expires: {expires} is over, today is {today}; give a later day")
    return waiver


def add_waiver(path: Path, waiver: Waiver) -> None:
    """Append a waiver to a file, which may not exist yet; what a person wrote there stays as it is."""
    before, held = "", tuple[Waiver, ...]()
    if path.exists():
        held, before = read_waivers(path), path.read_bytes().decode()
    if any(one.fingerprint == waiver.fingerprint for one in held):
        raise TomlFileError(f"{path} waives {waiver.fingerprint} already; change that waiver instead")
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    text = before + gap + waiver_toml(waiver)
    try:
        parse_toml(text, path, _WaiverFile)
    except TomlFileError as error:  # `waiver = [...]` is TOML as well, but closed
        raise TomlFileError(
            f"{path}: nothing can be appended to it ({error}); write each waiver as [[waiver]]"
        ) from error
    write_text(path, text)


def waiver_toml(waiver: Waiver) -> str:
    """One `[[waiver]]` in TOML."""
    texts = {name: getattr(waiver, name) for name in ("fingerprint", "reason", "owner")}
    lines = [f"{name} = {_quoted(text)}" for name, text in texts.items()]
    return "\n".join(["[[waiver]]", *lines, f"expires = {waiver.expires.isoformat()}"]) + "\n"


def _quoted(text: str) -> str:
    """A TOML string; its escapes are JSON's, but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
