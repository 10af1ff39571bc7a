"""The house: who may import whom."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "unmask"
FRAMEWORKS = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb"}
# From the top of the house to its ground: a room may import those below it.
ROOMS = (
    "__main__", "cli", "commands", "studies", "application", "inference", "generation", "evaluation", "demo",
    "datasets", "modules", "training", "explain", "reporting", "runs", "data", "media", "provenance", "networks",
    "metrics", "failures", "parallel", "config", "console", "arguments", "files",
)  # fmt: skip
# Rooms that know no framework at all, and files of others that do not either.
PLAIN = [
    "networks",
    "metrics",
    "media",
    "demo",
    "provenance",
    "watermark",
    "files",
    "explain",
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
    "data/recipe",
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
    if room(path) not in {"commands", "runs", "config"}:
        assert not roots & {"hydra", "omegaconf"}, "only the edge knows Hydra"


def test_only_the_edge_instantiates():
    for path in FILES:
        if "instantiate" in path.read_text():
            assert room(path) in {"commands", "runs", "config"}, path
