"""The seven layer rules of the design hold: which room may import which, and what each may touch."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from flashbulb.audit.recover.strategies import find_strategies
from tests.libraries import HEAVY
from tests.paths import ROOT

PACKAGES = ("audit", "hooks", "reports")
MAX_FILES = 20
"""Files a room may hold beside its `__init__.py`: more are two ideas."""
WIRING = (
    "audit/stages/results",
    "audit/stages/kept",
    "audit/stages/opening",
    "audit/stages",
    "audit/cli/shell",
    "audit/cli",
    "audit/api",
)
REPORT_ROOMS = (
    "bounds",
    "tables",
    "power",
    "views",
    "pull",
    "checks",
    "leaks",
    "prompts",
    "gate",
    "figures",
    "drawings",
    "page",
    "evidence",
)
"""From the ground up: each may import those before it."""


def module_name(path: Path) -> str:
    parts = ("flashbulb", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def room_of(module: str) -> str:
    """Folder of a module; the file beside the rooms of `audit` is a room of its own."""
    path = MODULES[module].relative_to(ROOT)
    return path.as_posix() if path.parent == Path("audit") else path.parent.as_posix()


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_bytes())


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


@cache
def imports(module: str, at_import: bool = False) -> frozenset[str]:
    """Full names of what `module` imports: our modules down to the file, others by their dotted name."""
    names = set()
    for statement in statements(tree_of(module), at_import):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
            continue
        assert not statement.level, f"{module} has a relative import of {statement.module}"
        source = str(statement.module)
        for alias in statement.names:
            inner = f"{source}.{alias.name}"
            names.add(inner if inner in MODULES else source)
    return frozenset(names)


def top(name: str) -> str:
    """Top-level package; of ours the room of the top level, `audit`, `hooks` or `reports`."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "flashbulb" else first


def rooms_imported(room: str) -> set[str]:
    """Other rooms that files of `room` import, types included."""
    found = {room_of(name) for m in MODULES if room_of(m) == room for name in imports(m) & MODULES.keys()}
    return found - {room}


ROOMS = sorted({room_of(module) for module in MODULES})
KERNELS = [room for room in ROOMS if room.startswith("audit/") and room not in (*WIRING, "audit/__main__.py")]


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


@pytest.mark.parametrize("module", MODULES)
def test_every_import_of_ours_goes_through_flashbulb(module: str) -> None:
    """A bare `hooks` or `reports` would be a stranger's, or a second copy of ours."""
    assert not {name for name in imports(module) if name.partition(".")[0] in PACKAGES}


def test_our_modules_import_in_one_direction() -> None:
    graph = {module: imports(module, at_import=True) & MODULES.keys() - {module} for module in MODULES}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_rule_1_rooms_import_in_one_direction() -> None:
    assert list(TopologicalSorter({room: rooms_imported(room) for room in ROOMS}).static_order())


@pytest.mark.parametrize("room", KERNELS)
def test_rule_2_kernels_know_neither_settings_nor_stages_nor_the_command_line(room: str) -> None:
    if room != "audit/settings":
        assert not rooms_imported(room) & {"audit/settings", *WIRING}


def test_rule_2_only_the_command_line_and_the_python_api_stand_on_the_stages() -> None:
    users = {room for room in ROOMS if "audit/stages" in rooms_imported(room)}
    assert users == {"audit/cli", "audit/api"}


COMPONENTS = re.compile(r"unet|transformer|vae|text_encoder(_\d)?|tokenizer(_\d)?|scheduler")


def touches_components(module: str) -> bool:
    """Whether a module reads a pipeline's component, or names a pipeline class."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and COMPONENTS.fullmatch(node.attr):
            return True
        if isinstance(node, ast.Name) and node.id.endswith("Pipeline"):
            return True
    return False


def test_rule_3_only_the_model_touches_components_of_the_pipeline() -> None:
    allowed = (
        "audit/model",
        "audit/model/families",
        "audit/model/loading",
        "audit/additions",
        "audit/planted",
        "hooks",
    )
    modules = [module for module in MODULES if room_of(module) not in allowed]
    assert not {MODULES[m].relative_to(ROOT).as_posix() for m in modules if touches_components(m)}


def test_rule_4_no_module_of_audit_lies_outside_a_room() -> None:
    assert {path.name for path in (ROOT / "audit").glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.name for path in (ROOT / "reports").glob("*.py")} == {"__init__.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_rule_4_a_room_holds_few_files(room: str) -> None:
    assert sum(room_of(m) == room and path.name != "__init__.py" for m, path in MODULES.items()) <= MAX_FILES


def spells_a_strategy(module: str) -> bool:
    """Whether a string of the module, other than a docstring, is the name of a strategy."""
    names = find_strategies().keys()
    return any(isinstance(node, ast.Constant) and node.value in names for node in ast.walk(tree_of(module)))


def test_rule_5_a_strategy_is_named_in_its_own_file() -> None:
    elsewhere = (
        "audit/recover/strategies",
        "reports/drawings",
        "reports/page",
        "reports/evidence",
        "audit/model",
        "audit/model/families",
    )  # "sample" is a prediction type, too
    modules = [module for module in MODULES if room_of(module) not in elsewhere]
    assert not [module for module in modules if spells_a_strategy(module)]


@pytest.mark.parametrize("place", range(len(REPORT_ROOMS)))
def test_rule_6_rooms_of_reports_stand_on_those_below(place: int) -> None:
    below = {f"reports/{name}" for name in REPORT_ROOMS[:place]}
    assert rooms_imported(f"reports/{REPORT_ROOMS[place]}") <= below


def test_rule_7_tests_mirror_the_rooms() -> None:
    """A folder of tests is a room, or a part of one that holds too many tests for a folder; or it tests no package."""
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")} - {Path()}
    rooms = {Path(room) for room in ROOMS if not room.endswith(".py")} | {Path("bench"), Path("documents")}
    assert not {folder for folder in folders if not rooms & {folder, folder.parent}}


def test_rule_7_no_test_module_is_imported() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for statement in statements(ast.parse(path.read_bytes()), at_import=False):
            module = statement.module if isinstance(statement, ast.ImportFrom) else statement.names[0].name
            assert not re.match(r"tests\.(\w+\.)*test_", str(module)), f"{path} imports {module}"


def test_the_command_line_starts_without_the_model_libraries() -> None:
    reached, ahead = set(), {"flashbulb.audit.cli"}
    while ahead:
        module = ahead.pop()
        reached.add(module)
        parents = {module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)} & MODULES.keys()
        ahead |= ((imports(module, at_import=True) & MODULES.keys()) | parents) - reached
    assert len(reached) > 10
    heavy = {module: {n for n in imports(module, at_import=True) if top(n) in HEAVY} for module in reached}
    assert not {module: names for module, names in heavy.items() if names}


def test_reports_import_where_the_model_libraries_are_not_installed() -> None:
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in sorted(HEAVY))
    wanted = ", ".join(name for name in MODULES if top(name) == "reports")
    subprocess.run([sys.executable, "-c", f"import sys; {blocked}import {wanted}"], cwd=ROOT, check=True)
