"""A file of waivers is read completely or refused, and adding to it loses nothing."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashbulb.reports.gate.toml_file import TomlFileError
from flashbulb.reports.gate.waivers import add_waiver, new_waiver, read_waivers
from tests.reports.findings_examples import finding
from tests.reports.waiver_examples import POOL, TODAY, written

TOML = 'fingerprint = "0123456789abcdef"\nreason = "public domain"\nowner = "ana"\nexpires = 2026-06-30\n'
WORDS = st.text(min_size=1, max_size=40).filter(lambda text: any(map(str.isalpha, text)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((f"[[waiver]]\n{TOML.replace(line, '')}", "field required") for line in TOML.splitlines(keepends=True)),
        (f"[[waiver]]\n{TOML}note = 'x'\n", "waiver.0.note is no key"),
        (f"[[waivers]]\n{TOML}", "waivers is no key"),
        (f"[[waiver]]\n{TOML}[[waiver]]\n{TOML}", "0123456789abcdef is waived twice"),
        (f"[[waiver]]\n{TOML.replace('2026-06-30', 'never')}", "is not TOML"),
        (f"[[waiver]]\n{TOML.replace('2026-06-30', '2026-06-31')}", "is not TOML"),
        (f"[[waiver]]\n{TOML.replace('2026-06-30', '1')}", "waiver.0.expires: "),
        (f"[[waiver]]\n{TOML.replace('2026-06-30', '2026-06-30T00:00:00')}", "waiver.0.expires: "),
        (f"[[waiver]]\n{TOML.replace('ana', ' ')}", "waiver.0.owner: "),
        (f"[[waiver]]\n{TOML.replace('public domain', '')}", "waiver.0.reason: "),
        *(
            (f"[[waiver]]\n{TOML.replace('0123456789abcdef', invalid)}", "waiver.0.fingerprint: ")
            for invalid in (
                "*",
                "0123456789ABCDEF",
                " 0123456789abcdef",
                "0123456789abcdef\\n",
                "０123456789abcdef",
                "",
            )
        ),
        *(
            (f"[[waiver]]\n{TOML.replace('2026-06-30', invalid)}", "waiver.0.expires: ")
            for invalid in (
                '"2026-06-30"',
                "2026-06-30 00:00:00",
                "2026-06-30T00:00:00Z",
                "20260630",
                "00:00:00",
                "true",
            )
        ),
        *(
            (f"[[waiver]]\n{TOML.replace('ana', invalid)}", "waiver.0.owner: ")
            for invalid in ("\\u200b", "\\u00a0\\t", "-", "a" * 1001)
        ),
        (f"[[waiver]]\n{TOML.replace('expires', 'Expires')}", "waiver.0.Expires is no key; did you mean expires?"),
        (f"[waiver]\n{TOML}", "waiver: "),
    ],
)
def test_an_incomplete_or_invalid_waiver_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TomlFileError) as caught:
        read_waivers(written(tmp_path, text))
    assert message in str(caught.value)


@given(texts=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3))
def test_added_waivers_are_read_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("waivers") / "waivers.toml"
    added = [
        new_waiver(POOL[position].fingerprint, reason, owner, TODAY, TODAY)
        for position, (reason, owner) in enumerate(texts)
    ]
    for waiver in added:
        add_waiver(path, waiver)
    assert read_waivers(path) == tuple(added)


@pytest.mark.parametrize(
    "old_text", ["", "# kept\n", "\ufeff# kept\n", f"# kept\n[[waiver]]\n{TOML}", f"[[waiver]]\n{TOML.rstrip()}"]
)
def test_adding_a_waiver_keeps_the_rest_of_the_file(tmp_path: Path, old_text: str) -> None:
    path = written(tmp_path, old_text)
    old_waivers = read_waivers(path)
    added = new_waiver(finding().fingerprint, "r", "o", TODAY, TODAY)
    add_waiver(path, added)
    assert path.read_text(encoding="utf-8").startswith(old_text)
    assert read_waivers(path) == (*old_waivers, added)
    with pytest.raises(TomlFileError, match="already waives"):
        add_waiver(path, added)


def test_an_expired_or_unowned_waiver_is_not_added() -> None:
    with pytest.raises(TomlFileError, match="2026-06-14 is in the past, today is 2026-06-15"):
        new_waiver(finding().fingerprint, "r", "o", TODAY - timedelta(days=1), TODAY)
    with pytest.raises(TomlFileError, match="owner: "):
        new_waiver(finding().fingerprint, "r", "", TODAY, TODAY)


@pytest.mark.parametrize("old_text", ["waiver = []\n", f"waiver = [{{{TOML.strip().replace(chr(10), ', ')}}}]\n"])
def test_a_file_that_cannot_be_appended_to_is_left_unchanged(tmp_path: Path, old_text: str) -> None:
    path = written(tmp_path, old_text)
    read_waivers(path)
    with pytest.raises(TomlFileError, match="cannot be appended to"):
        add_waiver(path, new_waiver(finding().fingerprint, "r", "o", TODAY, TODAY))
    assert path.read_text(encoding="utf-8") == old_text
