"""A policy is read exactly as written, and no mistake in it is ignored."""

from pathlib import Path

import pytest
from hypothesis import given

from flashbulb.reports.gate.policy import Policy, read_policy
from flashbulb.reports.gate.toml_file import TomlFileError
from tests.reports.policies import POLICIES


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_no_leak_is_allowed() -> None:
    policy = read_policy(None)
    assert policy == Policy()
    assert (policy.max_high, policy.max_confirmed, policy.min_coverage) == (0, 0, 1.0)


def test_an_empty_file_is_the_built_in_policy(tmp_path: Path) -> None:
    assert read_policy(written(tmp_path, "")) == Policy()


@given(policy=POLICIES)
def test_every_policy_is_read_back_as_written(tmp_path_factory: pytest.TempPathFactory, policy: Policy) -> None:
    values = {key: value for key, value in policy.model_dump(mode="json").items() if value is not None}
    given_values = {key: value for key, value in policy.model_dump().items() if value is not None}
    path = written(tmp_path_factory.mktemp("policy"), "".join(f"{key} = {value!r}\n" for key, value in values.items()))
    assert read_policy(path) == Policy(**given_values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_hihg = 0", "max_hihg is no key"),
        ("max_high = -1", "max_high: input should be greater than or equal to 0, got -1"),
        ("max_high = true", "max_high: input should be a valid integer, got True"),
        ("max_high = 1.0", "max_high: input should be a valid integer, got 1.0"),
        ('max_high = "0"', "max_high: input should be a valid integer, got '0'"),
        ("max_flagged_rate = 5", "max_flagged_rate: input should be less than or equal to 1, got 5"),
        ("max_flagged_rate = nan", "max_flagged_rate: "),
        ("min_coverage = 0", "min_coverage: input should be greater than 0, got 0"),
        ("required_tiers = [2]", "required_tiers.0: input should be 1 or 3, got 2"),
        ("required_tiers = [true]", "required_tiers: a tier should be 1 or 3, got true"),
        ("required_tiers = [1.0]", "required_tiers: a tier should be 1 or 3, got 1.0"),
        ('required_tiers = ["1"]', "required_tiers: a tier should be 1 or 3, got '1'"),
        ("required_tiers = 3", "required_tiers: input should be a valid tuple, got 3"),
        ("max_high = 2026-06-30", "max_high: input should be a valid integer, got datetime.date(2026, 6, 30)"),
        ("max_high_rate = true", "max_high_rate: input should be a valid number, got True"),
        ('max_high_rate = "0"', "max_high_rate: input should be a valid number, got '0'"),
        ("max_high_rate = inf", "max_high_rate: input should be less than or equal to 1, got inf"),
        ("min_coverage = -inf", "min_coverage: "),
        ("max_style_shift = nan", "max_style_shift: "),
        ('"max_high " = 0', "max_high  is no key"),
        ("MAX_HIGH = 0", "MAX_HIGH is no key"),
        ("max-high = 0", "max-high is no key"),
        ("max_high.x = 0", "max_high: input should be a valid integer"),
        (f"max_high = {'[' * 5000}", "is not TOML: "),
        ("max_style_shift = 0.4", "max_style_shift: input should be greater than or equal to 0.5, got 0.4"),
        ("[limits]\nmax_high = 0", "limits is no key"),
        ("max_high = 0\nmax_high = 1", "is not TOML: "),
        ("max_high: 0", "is not TOML: "),
    ],
)
def test_a_mistake_is_named_with_its_value(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TomlFileError) as caught:
        read_policy(written(tmp_path, text))
    assert message in str(caught.value)
    assert "policy.toml" in str(caught.value)


def test_a_missing_policy_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TomlFileError, match="cannot be read"):
        read_policy(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(TomlFileError, match="is not TOML"):
        read_policy(tmp_path / "latin.toml")
