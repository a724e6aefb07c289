"""The arrows of the design hold: two leaves, `audit` on both of them, and no circle."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("audit", "hooks", "reports")
HEAVY = {"torch", "diffusers", "transformers", "nnsight", "sklearn", "scipy", "skimage", "ray", "peft"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def statements(node: ast.AST, at_import: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements under `node`; `at_import` keeps those that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif at_import and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for branch in child.orelse:
                yield from statements(ast.Module([branch], []), at_import)
        else:
            yield from statements(child, at_import)


def imports(module: str, at_import: bool = False) -> set[str]:
    """Full names of what `module` imports: our modules down to the file, others by their dotted name."""
    names = set()
    for statement in statements(ast.parse(MODULES[module].read_bytes()), at_import):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
            continue
        assert not statement.level, f"{module} has a relative import of {statement.module}"
        source = str(statement.module)
        for alias in statement.names:
            inner = f"{source}.{alias.name}"
            names.add(inner if inner in MODULES else source)
    return names


def top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("module", [name for name in MODULES if top(name) != "audit"])
def test_the_leaves_import_nothing_of_ours(module: str) -> None:
    foreign = {name for name in imports(module) if top(name) in {*PACKAGES, "tests"} - {top(module)}}
    assert not foreign


@pytest.mark.parametrize("module", [name for name in MODULES if top(name) == "reports"])
def test_reports_do_without_the_model_libraries(module: str) -> None:
    assert not {name for name in imports(module) if top(name) in HEAVY}


@pytest.mark.parametrize("module", MODULES)
def test_the_product_never_imports_its_tests(module: str) -> None:
    assert "tests" not in map(top, imports(module))


def test_our_modules_import_in_one_direction() -> None:
    graph = {module: imports(module, at_import=True) & MODULES.keys() - {module} for module in MODULES}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_only_the_command_line_stands_on_the_stages() -> None:
    users = {module for module in MODULES if "audit.stages" in imports(module)}
    assert all(module.startswith("audit.cli.") for module in users)


@pytest.mark.skipif("audit.__main__" not in MODULES, reason="there is no command line yet")
def test_the_command_line_starts_without_the_model_libraries() -> None:
    reached, ahead = set(), {"audit.__main__"}
    while ahead:
        module = ahead.pop()
        reached.add(module)
        parents = {module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)}
        ahead |= ((imports(module, at_import=True) & MODULES.keys()) | parents) - reached
    heavy = {module: {n for n in imports(module, at_import=True) if top(n) in HEAVY} for module in reached}
    assert not {module: names for module, names in heavy.items() if names}


def test_reports_import_where_the_model_libraries_are_not_installed() -> None:
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in sorted(HEAVY))
    wanted = ", ".join(name for name in MODULES if top(name) == "reports")
    subprocess.run([sys.executable, "-c", f"import sys; {blocked}import {wanted}"], cwd=ROOT, check=True)
