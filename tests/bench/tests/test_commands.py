"""Every bench imports, and says what it takes: a name that has moved since is found here, not after minutes of work."""

import importlib
import pkgutil
import re

import pytest

import tests.bench
from tests.paths import ROOT

MODULES = sorted(module.name for module in pkgutil.walk_packages(tests.bench.__path__, "tests.bench."))
NAMED = re.findall(r"-m (tests\.bench\S*)", (ROOT / "Makefile").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_and_a_command_shows_its_help(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(name)
    if not hasattr(module, "main") or not hasattr(module, "argparse"):
        return
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_every_bench_of_the_makefile_is_among_them() -> None:
    assert len(NAMED) > 10
    for name in NAMED:
        found = [module for module in (name, f"{name}.__main__") if module in MODULES or module == name]
        assert any(hasattr(importlib.import_module(module), "argparse") for module in found), name
