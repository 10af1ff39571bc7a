"""List the options of the config, the presets and the runs.

  unmask list                    what can be listed
  unmask list networks           options of one kind, and how to choose one
  unmask list experiments        presets
  unmask list weights            published weights: whether they were found, where to put them, source and licence
  unmask list runs               run folders below outputs/
  unmask list runs FOLDER        below another folder

Files are only read; nothing is built or written.
"""

import ast
import json
import os
import re
import sys
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unmask.config import Settings, conf_dir
from unmask.files import printable
from unmask.networks.known_weights import KNOWN
from unmask.runs.summary import summarize

try:
    from yaml import CSafeLoader as Yaml  # ten times faster than SafeLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as Yaml  # type: ignore[assignment]

SYNONYMS = {"presets": "experiments", "model": "networks", "models": "networks", "detectors": "networks"}


def kinds() -> dict[str, Path]:
    """Return {plural of the name: folder} of the config groups that have options: `networks` is conf/module/network."""
    top = Path(conf_dir())
    groups = {path.parent for path in top.rglob("*.yaml") if not path.name.startswith("_")} - {top}
    # Presets are in one folder per data set; their group is the parent folder.
    groups = {group.parent if group.parent.name == "experiment" else group for group in groups}
    return {_plural(group.name): group for group in sorted(groups)}


def _plural(name: str) -> str:
    if name.endswith("ss"):
        return name + "es"
    return name if name.endswith("s") or name == "data" else name + "s"


def options(group: Path) -> Table:
    """Return a table of the options of a group with their descriptions."""
    nested = "**/*.yaml" if group.name == "experiment" else "*.yaml"
    table = _table(group.name, "what it is")
    for path in sorted(group.glob(nested)):
        if not path.name.startswith("_"):
            table.add_row(path.relative_to(group).with_suffix("").as_posix(), Text(about(path)))
    return table


def key(group: Path) -> str:
    """Return a group's name on the command line: `group@package` if the group has a package, else `group`."""
    name = group.relative_to(conf_dir()).as_posix()
    defaults = _read(Path(conf_dir(), "train.yaml"))["defaults"]
    keys = [str(key).removeprefix("override ") for entry in defaults if isinstance(entry, dict) for key in entry]
    return next((key for key in keys if key.split("@")[0] == name), name)


def about(path: Path) -> str:
    """Return the first sentence of the comment above an option, or else the first line of its class's docstring."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @")]
    prose = takewhile(lambda line: line.startswith("#") and not line.startswith("#  "), lines)  # "#  ": a command
    comment = " ".join(line.lstrip("# ") for line in prose)
    if comment:
        return re.split(r"(?<=[^.]\.)\s", comment)[0].removesuffix(":")
    target = str((_read(path) or {}).get("_target_", ""))
    module, _, name = target.rpartition(".")
    return _docstring(module, name) or target


def _docstring(module: str, name: str) -> str:
    """Return the first docstring line of a class or function of unmask, without importing its module."""
    package, *parts = module.split(".")
    file = files("unmask").joinpath(*parts[:-1], f"{parts[-1]}.py") if package == "unmask" and parts else None
    if file is None or not file.is_file():
        return ""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return (ast.get_docstring(node) or "").split("\n")[0]
    return ""


def runs(root: Path) -> Iterator[Text]:
    """Yield two lines for each run below a folder: the path of the run folder, and a summary."""
    for folder in sorted(_folders(root)):
        yield Text(printable(str(folder)), "bold")
        try:
            config, metrics = _config(folder), _metrics(folder)
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            yield Text(f"  damaged: {printable(' '.join(str(error).split())[:68])}", "red")
            continue
        line = Text(f"  {printable(str(summarize(folder, config, metrics)))}")
        if metrics is None:
            line.append("  unfinished", "yellow")
        elif metrics.get("remarks"):
            line.append("  no evidence of learning", "yellow")
        yield line


def weights() -> Iterator[Text]:
    """Yield the lines that describe each known file of published weights."""
    for one in KNOWN:
        yield Text.assemble((one.network, "bold"), "  ", ("found", "green") if one.found else ("not found", "yellow"))
        yield Text(f"  used by  {one.asked}\n  looked for in  {one.place}\n  source   {one.source}")
        yield Text(f"  licence  {one.licence}")


def _folders(root: Path) -> Iterator[Path]:
    """Yield the run folders, which contain a composed training config; their subfolders are not searched."""
    for folder, inside, _ in os.walk(root):
        if ".hydra" in inside and Path(folder, ".hydra", "config.yaml").is_file():
            yield Path(folder)
            inside.clear()


def _config(folder: Path) -> Settings:
    """Return a run's config as it is in the file, with unresolved interpolations."""
    config = _read(folder / ".hydra" / "config.yaml") or {}
    if not isinstance(config, dict) or not isinstance(config.get("module") or {}, dict):
        raise ValueError("config.yaml is not the config of a run")
    return config


def _metrics(folder: Path) -> Settings | None:
    path = folder / "metrics.json"
    if not path.is_file():
        return None
    metrics = json.loads(path.read_text())
    test = (metrics.get("test") or {}) if isinstance(metrics, dict) else None
    figures = (metrics.get("score"), test.get("video_auroc")) if isinstance(test, dict) else ("",)
    if not all(value is None or isinstance(value, int | float) for value in figures):
        raise ValueError("metrics.json does not contain the metrics of a run")
    return dict(metrics)


def _read(path: Path) -> Any:
    with path.open(encoding="utf-8") as file:
        return yaml.load(file, Yaml)


def _suggestion(given: str, known: Collection[str]) -> str | None:
    """Return a suggestion for an unknown kind; None if no kind is similar."""
    if Path(given).is_dir():
        return f"to list the runs in a folder, write: unmask list runs {given}"
    near = get_close_matches(SYNONYMS.get(given, given), [*known, "runs", "weights"], n=1)
    return f"did you mean unmask list {near[0]}?" if near else None


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def main(arguments: list[str]) -> None:
    """Print the requested table.

    This is not a Hydra application, because there is no config to compose and no run folder to create.
    """
    # The console command quotes bare words for Hydra's grammar.
    words = [word.removeprefix("path=").strip("'") for word in arguments]
    known, console = kinds(), Console(highlight=False)
    given, *rest = words or [""]
    kind = given if given in (*known, "runs", "weights") else _plural(given)
    if kind == "runs":
        if len(rest) > 1:
            raise SystemExit(f"unmask: unmask list runs takes one folder, but got {' '.join(rest)}")
        root = Path(rest[0] if rest else "outputs")
        if rest and not root.is_dir():
            raise SystemExit(f"unmask: {root}: no such folder")
        lines = list(runs(root))
        for line in lines or [Text(f"no runs in {root}; unmask train creates one")]:
            console.print(line, soft_wrap=True)  # no line breaks, so that long paths can be copied
    elif kind == "weights":
        for line in weights():
            console.print(line, soft_wrap=True)
    elif kind in known:
        if rest:
            raise SystemExit(f"unmask: unmask list {given} takes no further argument, but got {' '.join(rest)}")
        console.print(options(known[kind]))
        console.print(f"\nchoose one with {key(known[kind])}=NAME", markup=False)
    else:
        choices = f"unmask list KIND, where KIND is one of\n  {', '.join([*known, 'runs', 'weights'])}"
        if given:
            raise SystemExit(f"unmask: unknown kind '{given}'; {_suggestion(given, known) or choices}")
        print(choices)


if __name__ == "__main__":
    main(sys.argv[1:])
