"""The house: who may import whom."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "unmask"
FRAMEWORKS = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb"}
EVERYTHING = {"*"}
# room -> rooms it may import, besides itself
MAY = {
    "__main__": {"cli"},
    "cli": set(),
    "commands": EVERYTHING,
    "datasets": {"data", "files"},
    "runs": {"config", "files", "metrics"},
    "reporting": {"metrics"},
    "modules": {"metrics", "provenance"},
    "data": {"files"},
    "media": {"files", "watermark"},  # the shortcut audit looks for our own mark
    "metrics": set(),
    "config": {"files"},
    "files": set(),
    "provenance": {"files", "watermark"},
    "watermark": set(),
    "demo": {"files", "media", "provenance"},
    "networks": set(),
    "explain": set(),
    "training": {"files", "media", "metrics", "provenance"},
}
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
    assert here in MAY, f"{path.name}: no room '{here}' in the design"
    allowed = MAY[here]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "unmask" or len(parts) < 2:
            continue
        assert parts[1] == here or allowed == EVERYTHING or parts[1] in allowed, f"{here} may not import {name}"


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
