"""The console command: `unmask VERB key=value ...`, one Hydra application a verb."""

import ast
import gc
import os
import re
import runpy
import sys
from importlib.resources import files

# Values that people type as they are on their disk; Hydra's grammar would trip over blanks, brackets and `=`.
PLAIN = ("path", "run", "video", "root", "data.root", "data.run", "data.group", "out")
WORDS = ("list",)  # verbs that take words, not overrides


def main() -> None:
    """Run one verb; Hydra and Lightning's child processes see it as `python -m unmask.commands.VERB`."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return
    verb, *rest = arguments
    if verb not in verbs():
        print(f"unmask: there is no verb '{verb}'.\n\n{overview()}", file=sys.stderr)
        raise SystemExit(2)
    if any(argument in ("-h", "--help") for argument in rest):
        print(describe(verb))
        return
    rest = [quote(argument) for argument in rest]
    if verb not in WORDS and (twice := repeated(rest)):
        print(f"unmask: {twice}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [sys.argv[0], *rest]
    if "torch" not in sys.modules:
        gc.disable()  # imports leave no garbage, and looking for it takes a fifth of their time; see `fail_clearly`
    runpy.run_module(f"unmask.commands.{verb}", run_name="__main__", alter_sys=True)


def verbs() -> list[str]:
    """The verbs, each a file of `unmask/commands`."""
    names = (entry.name for entry in files("unmask.commands").iterdir())
    return sorted(name.removesuffix(".py") for name in names if name.endswith(".py") and not name.startswith("_"))


def describe(verb: str) -> str:
    """The help that a verb's module carries as its docstring; read, not imported, so that it is instant."""
    source = files("unmask.commands").joinpath(f"{verb}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or verb


def overview() -> str:
    """One line a verb, in the order of the work."""
    order = ["demo", "prepare", "train", "evaluate", "report", "predict", "generate", "list"]
    known = sorted(verbs(), key=lambda verb: (order.index(verb) if verb in order else len(order), verb))
    lines = [f"  {verb:<10} {describe(verb).splitlines()[0]}" for verb in known]
    head = ["unmask makes and catches deepfakes.", "", "Usage: unmask VERB key=value ...", ""]
    return "\n".join([*head, *lines, "", "unmask VERB --help explains a verb; --cfg job shows its whole config."])


def quote(argument: str) -> str:
    """Make one shell argument safe for Hydra: a bare path becomes `path='...'`, plain values are quoted."""
    if argument.startswith(("-", "~")):
        return argument
    key, equals, value = argument.partition("=")
    if not equals or not _is_key(key) or os.path.exists(argument):
        key, value = "path", argument
    listed = value.startswith("[") and value.endswith("]")
    if key.lstrip("+") not in PLAIN or value == "null" or value.startswith(("'", '"', "${")) or listed:
        return argument
    # Hydra reads a backslash as itself except before a quote.
    escaped = re.sub(r"(\\*)'", r"\1\1\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"{key}='{escaped}'"


def repeated(arguments: list[str]) -> str | None:
    """What is wrong where a key is given twice in quoted arguments, of which Hydra takes the last; None if nothing."""
    given: dict[str, list[str]] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and _is_key(key) and not key.startswith("~"):
            given.setdefault(key.lstrip("+"), []).append(value)
    for key, values in given.items():
        if len(values) > 1:
            several = "; for several files, call it once for each" if key == "path" else ""
            return f"{key} is given {len(values)} times ({', '.join(values)}) and takes one value{several}"
    return None


def _is_key(text: str) -> bool:
    """Whether `text` can be the key of an override: `a.b`, `+a`, `~a`, `group/sub@package`."""
    return bool(text) and all(
        part.isidentifier() for part in text.lstrip("+~").replace("/", ".").replace("@", ".").split(".")
    )
