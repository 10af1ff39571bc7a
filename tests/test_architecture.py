"""The house: who may import whom."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "unmask"
FRAMEWORKS = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb"}
GUESSES, UNTYPED = 10, 99  # calls of hasattr and getattr, and lines that name Any, in all of the package
# From the top of the house to its ground: a room may import those below it.
ROOMS = (
    "__main__", "cli", "commands", "studies", "application", "web", "export", "inference", "generation", "evaluation",
    "demo", "datasets", "modules", "training", "explain", "publishing", "reporting", "runs", "data", "perturb", "media",
    "provenance", "networks", "metrics", "failures", "parallel", "config", "console", "arguments", "files", "ranks",
)  # fmt: skip
# Rooms that know no framework at all, and files of others that do not either.
PLAIN = [
    "networks",
    "metrics",
    "media",
    "perturb",
    "demo",
    "provenance",
    "explain",
    "publishing",
    "reporting",
    "training/losses",
    "training/adversarial",
    "training/schedules",
    "data/manifest",
    "data/splits",
    "data/store",
    "data/sampling",
    "data/dataset",
    "data/audit",
    "data/prepare",
    "data/source",
    "data/split",
    "data/prepared",
    "data/contents",
    "data/predictions",
    "data/stores",
    "data/recipe",
    "inference",
    "export",
    "web",
    "runs",
    "files",
    "ranks",
    "failures",
    "parallel",
    "data/parts",
    "data/shards",
    "data/work",
]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {
                f"{node.module}.{alias.name}" for alias in node.names if node.module == "unmask"
            }
    return found


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = [p for p in sorted(SOURCE.rglob("*.py")) if p != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down_only(path):
    here = room(path)
    assert here in ROOMS, f"{path.name}: no room '{here}' in the design"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "unmask" or len(parts) < 2 or parts[1] == here:
            continue
        assert ROOMS.index(parts[1]) > ROOMS.index(here), f"{here} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_frameworks_stay_at_the_edge(path):
    relative = str(path.relative_to(SOURCE).with_suffix(""))
    roots = {name.split(".")[0] for name in imports(path)}
    if any(relative == plain or relative.startswith(plain + "/") for plain in PLAIN):
        assert not roots & FRAMEWORKS
    if room(path) not in {"commands", "studies", "application", "config"}:
        assert not roots & {"hydra", "omegaconf"}, "only the edge knows Hydra"


def test_hydra_builds_nothing():
    """Objects are made of the checked plain tree by `unmask.config.build` alone."""
    for path in FILES:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not {"instantiate", "get_class", "get_method", "get_object"} & names, path
        assert not [name for name in imports(path) if name.startswith(("hydra.utils", "hydra._internal"))], path


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, with its docstring."""
    return function.end_lineno - function.lineno + 1


def required(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Arguments that a function cannot be called without, but `self` and `cls`."""
    given = function.args
    names = [argument.arg for argument in given.posonlyargs + given.args]
    more = sum(default is None for default in given.kw_defaults)
    return len(names) - len(given.defaults) + more - (names[:1] in (["self"], ["cls"]))


def count(path: Path) -> tuple[int, int]:
    """Calls of `hasattr` and `getattr`, and lines that name `Any`."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    guesses = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    lines = {n.lineno for n in nodes if isinstance(n, ast.Name) and n.id == "Any"}
    return sum(call.func.id in ("hasattr", "getattr") for call in guesses), len(lines)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_functions_are_short_and_take_few_arguments(path):
    for function in functions(path):
        assert length(function) <= 40, f"{path.name}: {function.name} has {length(function)} lines"
        assert required(function) <= 6, f"{path.name}: {function.name} takes {required(function)} arguments"


def test_no_room_is_overgrown_and_little_is_guessed():
    """What is left of guessing is counted, so that it does not grow."""
    lines = {path: len(path.read_text().splitlines()) for path in FILES}
    for name in set(map(room, FILES)) - {"demo"}:
        share = sum(number for path, number in lines.items() if room(path) == name) / sum(lines.values())
        assert share <= 0.15, f"{name} holds {share:.0%} of the lines"
    guesses, untyped = (sum(numbers) for numbers in zip(*map(count, FILES), strict=True))
    print(f"{guesses} calls of hasattr and getattr, {untyped} lines that name Any")
    assert guesses <= GUESSES and untyped <= UNTYPED


def test_no_verb_has_a_helper_of_its_own():
    assert not [path.name for path in FILES if room(path) == "commands" and path.name[0] == "_" != path.name[1]]
