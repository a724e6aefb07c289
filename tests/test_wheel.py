"""What is built holds exactly our package, and its wheel works in an environment of its own, from any directory."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from tests.paths import ROOT
from tests.reports.runs import LEAKS, write_example

FOLDERS = ("audit", "hooks", "reports")
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.part", ".*")


class Built(NamedTuple):
    """A source distribution and the wheel that was built from it."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build from a copy of the sources, so that nothing is left in the tree."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*FOLDERS, "src", "tests/audit"):
        shutil.copytree(ROOT / name, source / name, ignore=NOT_SHIPPED, symlinks=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Built(next(dist.glob("flashbulb-*.tar.gz")), next(dist.glob("flashbulb-*.whl")))


@pytest.fixture(scope="module")
def wheel_names(built: Built) -> set[str]:
    with zipfile.ZipFile(built.wheel) as archive:
        return set(archive.namelist())


def shipped(pattern: str) -> set[str]:
    """Files of our package that match `pattern`, as they are named in a wheel."""
    folders = {**{ROOT / name: Path("flashbulb", name) for name in FOLDERS}, ROOT / "src/flashbulb": Path("flashbulb")}
    found = ((path, folder, name) for folder, name in folders.items() for path in folder.glob(f"**/{pattern}"))
    return {
        (name / path.relative_to(folder)).as_posix()
        for path, folder, name in found
        if path.is_file() and "__pycache__" not in path.parts and not path.parent.is_symlink()
    }


def test_the_wheel_holds_one_import_package_and_nothing_else(wheel_names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"flashbulb"}
    assert len(tops) == 2


def test_the_wheel_holds_every_module(wheel_names: set[str]) -> None:
    modules = shipped("*.py")
    assert len(modules) > 200
    assert {name for name in wheel_names if name.endswith(".py")} == modules


def test_the_wheel_holds_the_templates_and_the_type_marker(wheel_names: set[str]) -> None:
    templates = shipped("*.j2") | shipped("*.css") | shipped("*.js")
    assert len(templates) >= 4
    assert templates | {"flashbulb/py.typed"} <= wheel_names


def test_the_wheel_holds_the_embedded_model(wheel_names: set[str]) -> None:
    embedded = ROOT / "audit" / "planted" / "embedded"
    files = {f"flashbulb/{path.relative_to(ROOT).as_posix()}" for path in embedded.rglob("*") if path.is_file()}
    assert files, "the embedded model is missing"
    assert {name for name in wheel_names if name.startswith("flashbulb/audit/planted/embedded/")} == files


def test_the_wheel_holds_the_configs_of_single_files(wheel_names: set[str]) -> None:
    configs = {name for name in shipped("*.json") if name.startswith("flashbulb/audit/additions/configs/")}
    assert len(configs) > 20
    assert configs <= wheel_names


def test_the_source_distribution_holds_the_same_modules(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    assert {f"flashbulb/{name}" for name in names if name.startswith(FOLDERS) and name.endswith(".py")} == {
        name for name in shipped("*.py") if name.startswith(tuple(f"flashbulb/{folder}/" for folder in FOLDERS))
    }
    assert {"src/flashbulb/__init__.py", "pyproject.toml", "README.md", "LICENSE"} <= names
    assert not {name for name in names if name.startswith("tests/")}


def requirements(extras: set[str]) -> Iterator[str]:
    """Names of the distributions that `flashbulb[extras]` needs, with all that these need."""
    ahead, seen = [("flashbulb", frozenset(extras))], set()
    while ahead:
        name, wanted = ahead.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        for text in distribution(name).requires or ():
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                ahead.append((need.name, frozenset(need.extras)))
        if name != "flashbulb":
            yield name


class Environment(NamedTuple):
    """A virtual environment that holds the wheel and what it needs, and nothing else."""

    folder: Path

    def run(self, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run the installed command."""
        words = [str(self.folder / "bin" / "flashbulb"), *map(str, arguments)]
        hidden = {"PYTHONPATH", "VIRTUAL_ENV", "COVERAGE_PROCESS_START", "FLASHBULB_EXAMINE"}
        given = {name: value for name, value in os.environ.items() if name not in hidden}
        return subprocess.run(words, cwd=cwd, env=given, capture_output=True, text=True, check=False)


def environment(folder: Path, wheel: Path, extras: set[str]) -> Environment:
    """Make an environment from the wheel and links to the distributions that are installed beside the tests."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in set(requirements(extras)):
        found = distribution(name)
        for top in {path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")}:
            link = site / top
            if not link.exists():
                link.symlink_to(found.locate_file(top))
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-index"]
    subprocess.run([*install, "--no-deps", "--quiet", str(wheel)], check=True, capture_output=True)
    return Environment(folder)


@pytest.fixture(scope="module")
def bare(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What `pip install flashbulb` gives."""
    return environment(tmp_path_factory.mktemp("bare") / "env", built.wheel, set())


@pytest.fixture(scope="module")
def complete(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What `pip install 'flashbulb[audit]'` gives."""
    return environment(tmp_path_factory.mktemp("complete") / "env", built.wheel, {"audit"})


def put_strangers(folder: Path) -> None:
    """Write files of a user whose names are those of our folders; none may be taken for ours."""
    for name in FOLDERS:
        (folder / f"{name}.py").write_text("raise SystemExit('a stranger was imported')\n", encoding="utf-8")


def test_a_bare_installation_judges_audits_whatever_the_user_calls_their_files(
    bare: Environment, tmp_path: Path
) -> None:
    put_strangers(tmp_path)
    version = bare.run("--version", cwd=tmp_path)
    assert (version.returncode, version.stdout) == (0, f"flashbulb {distribution('flashbulb').version}\n")
    shown = bare.run("audit", "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "Usage: flashbulb audit" in shown.stdout
    run = write_example(tmp_path / "run", LEAKS)
    for command in ("gate", "report"):
        answer = bare.run(command, run, cwd=tmp_path)
        assert answer.returncode == (1 if command == "gate" else 0), answer.stderr
        assert "Traceback" not in answer.stderr
    assert bare.run("diff", run, run, cwd=tmp_path).returncode == 0
    assert bare.run("show", run, "p0", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("command", ["sites model", "demo", "detectors"])
def test_a_command_that_lacks_its_extra_says_which_one_to_install(
    bare: Environment, tmp_path: Path, command: str
) -> None:
    answer = bare.run(*command.split(), cwd=tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.count("\n") == 1
    assert "pip install 'flashbulb[audit]'" in answer.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_complete_installation_audits_whatever_the_user_calls_their_files(
    complete: Environment, tmp_path: Path
) -> None:
    put_strangers(tmp_path)
    (model,) = complete.folder.glob("lib/python*/site-packages/flashbulb/audit/planted/embedded/model")
    listed = complete.run("sites", model, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "feed_forward" in listed.stdout
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.py" for name in FOLDERS}
