"""`import flashbulb` is the public API: cheap to import, complete, documented, and clear about what is missing."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import flashbulb
from tests.libraries import HEAVY
from tests.paths import ROOT


def run_python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_importing_it_loads_no_model_library() -> None:
    done = run_python(f"import flashbulb, sys; dir(flashbulb); assert not sys.modules.keys() & {HEAVY!r}")
    assert done.returncode == 0, done.stderr


def test_the_version_is_that_of_the_installation() -> None:
    assert flashbulb.__version__ == version("flashbulb")


def test_settings_need_no_model_library() -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(HEAVY))
    done = run_python(f"import sys; {blocked}; import flashbulb; flashbulb.AuditSettings")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", flashbulb.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(flashbulb, name)
    assert name in dir(flashbulb)
    assert value.__name__ == name
    assert value.__doc__
    assert f"`{name}" in (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def test_types_and_names_agree() -> None:
    """What a type checker sees of the module is what it offers when it runs."""
    source = (ROOT / "src" / "flashbulb" / "__init__.py").read_text(encoding="utf-8")
    assert {line.split(" as ")[1].strip() for line in source.splitlines() if " as " in line and "import" in line} == {
        *flashbulb.__all__
    }


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(AttributeError, match=r"has no 'run_audits'; it has .*run_audit"):
        flashbulb.run_audits  # noqa: B018


@pytest.mark.parametrize("module", ["audit", "flashbulb"])
def test_the_source_without_an_installation_says_how_to_install_it(module: str) -> None:
    code = f"import sys, runpy; sys.path[:0] = ['src', '.']; runpy.run_module({module!r}, run_name='__main__')"
    done = run_python(code, "-S", "-E")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "pip install -e '.[audit]'" in done.stderr
