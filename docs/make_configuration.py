"""Write docs/configuration.md from the YAML files of conf/ and their comments.

python docs/make_configuration.py            write the page
python docs/make_configuration.py --check    exit with 1 if the page on disk is not up to date
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from unmask.cli import verbs
from unmask.commands.list import about, key

DOCS = Path(__file__).parent
CONF = DOCS.parent / "conf"
PAGE = DOCS / "configuration.md"
VERBS = (
    "train", "prepare", "evaluate", "import", "report", "predict", "serve", "export", "publish", "sample", "swap",
    "inpaint", "demo",
)  # fmt: skip
TOP = ("data", "data/recipe", "augment", "blend", "module", "trainer", "callbacks", "logger", "sweep", "experiment")
PLUMBING = ("hydra", "_target_", "_partial_")  # keys that nobody sets on the command line
INTRODUCTION = """\
# Configuration reference

<!-- Generated from conf/ by docs/make_configuration.py. Do not edit: change the comment in the YAML file instead. -->

Every value below can be set on the command line. A *group* takes the name of an option, which is a YAML file:
`module/network=meso4`. A *key* takes a value: `module.network.dropout=0.3`. `unmask VERB --cfg job` prints the whole
config of a command, and `unmask list KIND` lists the options of a group.

The class that `_target_` names in a YAML file is the schema of its keys: an unknown key or a missing value is an error
before anything runs. `???` marks a value that must be given. `${...}` refers to another key.
"""


class Row(NamedTuple):
    """One key of a YAML file.

    Attributes:
        path: dotted.
        value: as it is written; empty for a key that holds other keys.
        comment: beside the key, or above it.
    """

    path: str
    value: str
    comment: str


def comments(text: str) -> dict[int, tuple[int, str]]:
    """Line number -> (column of `#`, comment), told apart from a `#` inside a value by YAML's own scanner."""
    ends: dict[int, int] = {}
    for token in yaml.scan(text):
        if token.end_mark.column or token.end_mark.line == token.start_mark.line:
            ends[token.end_mark.line] = max(ends.get(token.end_mark.line, 0), token.end_mark.column)
    found = {}
    for number, line in enumerate(text.splitlines()):
        column = line.find("#", ends.get(number, 0))
        if column >= 0:
            found[number] = (column, line[column:].lstrip("# ").rstrip())
    return found


def beside(text: str) -> dict[int, str]:
    """Line number of a key -> its comment: the lines above it, and what stands beside it and goes on below."""
    lines, noted = text.splitlines(), comments(text)
    found: dict[int, str] = {}
    above: list[str] = []
    last, column = -1, -1
    for number, line in enumerate(lines):
        own = noted.get(number)
        if own is not None and not line[: own[0]].strip():  # a line of its own
            if own[0] == column and own[0] > 0:
                found[last] = f"{found[last]} {own[1]}"
            else:
                above.append(own[1])
            continue
        if not line.strip():
            above = []
        words = [*above, own[1]] if own is not None else above
        if line.strip() and words:
            found[number] = " ".join([*(f"{word.rstrip('.:')}:" for word in words[:-1]), words[-1]])
        above = []
        last, column = number, -1 if own is None else own[0]
    return found


def header(path: Path) -> tuple[str, list[str]]:
    """What a file says of itself at its top: running text, and the commands, which are indented."""
    text, commands = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words = line[1:]
        if words.startswith(" @"):
            continue
        if words.startswith("   ") and words.strip().startswith("unmask "):
            commands.append(words.strip())
        else:
            text.append(words.strip())
    return " ".join(text).removesuffix(":") or about(path), commands


def read(path: Path) -> tuple[list[Row], list[tuple[str, str, str]], bool]:
    """The keys of a YAML file, its defaults as (group, option, comment), and whether it holds lists of objects."""
    text = path.read_text(encoding="utf-8")
    top = yaml.compose(text)
    lines = text.splitlines()
    top_lines = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    words = beside("\n".join([*[""] * top_lines, *lines[top_lines:], ""]))
    rows = list(_rows(top, "", text, words)) if isinstance(top, yaml.MappingNode) else []
    nested = any(row.value == "[objects]" for row in rows)
    groups = [(row.path, row.value, row.comment) for row in _defaults(top, text, words)]
    return [row for row in rows if row.value != "[objects]"], groups, nested


def _rows(node: yaml.MappingNode, path: str, text: str, words: dict[int, str]) -> Iterator[Row]:
    for name, value in node.value:
        if name.value in (*PLUMBING, "defaults"):
            continue
        where, comment = f"{path}{name.value}", words.get(name.start_mark.line, "")
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            if comment:
                yield Row(where, "", comment)
            yield from _rows(value, f"{where}.", text, words)
        elif isinstance(value, yaml.SequenceNode) and not value.flow_style:
            objects = any(isinstance(entry, yaml.MappingNode) for entry in value.value)
            yield Row(where, "[objects]" if objects else _source(value, text), comment)
        else:
            yield Row(where, _source(value, text), comment)


def _defaults(top: yaml.Node | None, text: str, words: dict[int, str]) -> Iterator[Row]:
    """The groups that a file chooses from: `- network: meso4`."""
    if not isinstance(top, yaml.MappingNode):
        return
    for name, value in top.value:
        for entry in value.value if name.value == "defaults" else ():
            if isinstance(entry, yaml.MappingNode):
                ((group, option),) = entry.value
                if not group.value.startswith(("override ", "optional ", "/")):
                    yield Row(group.value, _source(option, text), words.get(entry.start_mark.line, ""))


def _source(node: yaml.Node, text: str) -> str:
    """A value as it is written."""
    return " ".join(text[node.start_mark.index : node.end_mark.index].split())


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows)]


def code(text: str) -> str:
    """Inline code; nothing for nothing."""
    return f"`{text}`" if text else ""


def keys(rows: list[Row], prefix: str = "") -> list[str]:
    """The table of a file's keys; nothing for a file without keys."""
    if not rows:
        return []
    return [
        *table(("key", "default", "meaning"), [(code(prefix + r.path), code(r.value), r.comment) for r in rows]),
        "",
    ]


def verb(name: str) -> Iterator[str]:
    """The section of a verb: its groups, then its keys."""
    path = CONF / f"{name}.yaml"
    rows, groups, _ = read(path)
    yield from (f"## unmask {name}", "")
    if name == "prepare":
        yield from ("All groups and keys of [`unmask train`](#unmask-train), and:", "")
    if chosen := [(code(group), code(option), comment) for group, option, comment in groups]:
        yield from (*table(("group", "default", "meaning"), chosen), "")
    yield from keys(rows)


def place(group: Path) -> str:
    """Where the keys of a group's options are in the config: `augment@data.augment` -> `data.augment`."""
    name = key(group)
    return name.rpartition("@")[2].replace("/", ".")


def option(path: Path, group: Path) -> Iterator[str]:
    """The section of an option."""
    text, commands = header(path)
    rows, groups, nested = read(path)
    yield from (f"#### {path.stem}", "", text, "")
    if commands:
        yield from ("```bash", *commands, "```", "")
    where = place(group)
    if nested:
        body = path.read_text(encoding="utf-8").splitlines()
        yield from ("```yaml", *(line for line in body if not line.startswith("#")), "```", "")
        return
    if groups:
        chosen = [(code(_below(where, g)), code(o), comment) for g, o, comment in groups]
        yield from (*table(("group", "default", "meaning"), chosen), "")
    yield from keys(rows, f"{where}.")


def _below(where: str, group: str) -> str:
    """A group as it is typed: `network` of a module -> `module/network`."""
    name, at, package = group.partition("@")
    return f"{where.replace('.', '/')}/{name}{f'{at}{where}.{package}' if at else ''}"


def every_group() -> set[Path]:
    """The folders of options; that of all presets is one group."""
    folders = {path.parent for path in CONF.rglob("*.yaml") if not path.name.startswith("_")} - {CONF, CONF / "local"}
    return {folder.parent if folder.parent.name == "experiment" else folder for folder in folders}


def groups() -> Iterator[str]:
    """The sections of all groups, those of a training first."""
    found = {group.relative_to(CONF).as_posix(): group for group in every_group()}
    order = [*TOP, *sorted(name for name in found if name.startswith("module/"))]
    order += sorted(set(found) - set(order))
    for name in order:
        group = found[name]
        yield from (f"### {name}", "", f"Chosen with `{key(group)}=NAME`.", "")
        if name in ("experiment", "table"):
            nested = sorted(path for path in group.rglob("*.yaml") if not path.name.startswith("_"))
            rows = [(code(path.relative_to(group).with_suffix("").as_posix()), header(path)[0]) for path in nested]
            yield from (*table(("name", "what it is"), rows), "")
            continue
        if name == "data":
            shared, _, _ = read(group / "_data.yaml")
            yield from ("All data sets have these keys; an option changes some of their defaults and adds its own.", "")
            yield from keys(shared, "data.")
        for path in sorted(path for path in group.glob("*.yaml") if not path.name.startswith("_")):
            yield from option(path, group)


def page() -> str:
    """The whole page."""
    unknown = set(verbs()) - {*VERBS, "list"}
    if unknown:
        raise SystemExit(f"docs/make_configuration.py: no section for unmask {', '.join(sorted(unknown))}")
    lines = [INTRODUCTION]
    for name in VERBS:
        lines += verb(name)
    lines += ["## Groups", "", *groups()]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        sys.exit(f"{PAGE} is not up to date: run python docs/make_configuration.py")


if __name__ == "__main__":
    main()
