"""The wheel holds exactly our packages, all of them, and the embedded model."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("audit", "hooks", "reports")
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.part", ".*")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files of a wheel built from a copy of the sources, so that nothing is left in the tree."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=NOT_SHIPPED)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(source)]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = dist.glob("engram-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def shipped(pattern: str) -> set[str]:
    """Files of our packages that match `pattern`, as they are named in a wheel."""
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob(pattern))
    names = (path.relative_to(ROOT) for path in paths if path.is_file())
    return {name.as_posix() for name in names if "__pycache__" not in name.parts}


def test_the_wheel_holds_our_packages_and_nothing_else(wheel_names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == len(PACKAGES) + 1


def test_the_wheel_holds_every_module(wheel_names: set[str]) -> None:
    assert {name for name in wheel_names if name.endswith(".py")} == shipped("*.py")


def test_the_wheel_holds_the_templates_and_the_type_marker(wheel_names: set[str]) -> None:
    templates = shipped("*.j2") | shipped("*.css") | shipped("*.js")
    assert len(templates) >= 4
    assert shipped("py.typed") | templates <= wheel_names
    assert "reports/py.typed" in wheel_names


def test_the_wheel_holds_the_embedded_model(wheel_names: set[str]) -> None:
    embedded = ROOT / "audit" / "planted" / "embedded"
    files = {path.relative_to(ROOT).as_posix() for path in embedded.rglob("*") if path.is_file()}
    assert files, "the embedded model is missing"
    assert {name for name in wheel_names if name.startswith("audit/planted/embedded/")} == files
