"""The console command: `unmask VERB key=value ...`, one Hydra application a verb."""

import ast
import gc
import os
import re
import runpy
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import FrameType

# Values that people type as they are on their disk; Hydra's grammar would trip over blanks, brackets and `=`.
PLAIN = ("path", "run", "video", "root", "data.root", "data.run", "data.group", "out")
WORDS = ("list",)  # verbs that take words, not overrides
RESUMED = ("demo", "prepare", "train", "generate")  # verbs that go on where a call was interrupted

# Hydra's flags by what follows them: nothing, a value of their own, or a value that may be left out.
BARE = ("--resolve", "--run", "-r", "--multirun", "-m", "--shell-completion", "-sc", "--hydra-help")
VALUED = (
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
    "--experimental-rerun",
)  # fmt: skip
INFO = ("--info", "-i")
CHOICES = {
    ("--cfg", "-c"): ("job", "hydra", "all"),
    INFO: ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
# Of these Hydra runs one.
ACTIONS = (("--run", "-r"), ("--multirun", "-m"), ("--cfg", "-c"), INFO, ("--shell-completion", "-sc"))


class UsageError(ValueError):
    """What was typed is no command."""


def main() -> None:
    """Run one verb; Hydra and Lightning's child processes see it as `python -m unmask.commands.VERB`."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return
    if "--version" in arguments:
        print(f"unmask {version('unmask')}")
        return
    if arguments[0] in ("-sc", "--shell-completion", "--hydra-help"):  # these concern no verb in particular
        if (completed := _complete(arguments)) is None:
            return
        arguments = completed
    verb, *rest = arguments
    if verb.startswith("-"):
        print(f"unmask: {verb}: expected a verb first, one of {', '.join(verbs())}", file=sys.stderr)
        raise SystemExit(2)
    if verb not in verbs():
        print(f"unmask: there is no verb '{verb}'.\n\n{overview()}", file=sys.stderr)
        raise SystemExit(2)
    if any(argument in ("-h", "--help") for argument in rest):
        print(describe(verb))
        return
    try:
        sys.argv = [sys.argv[0], *parse(verb, rest)]
    except UsageError as error:
        print(f"unmask: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if verb == "train" and (problem := unwritable(rest)):  # Hydra makes the folder, with a traceback where it cannot
        print(f"unmask: {problem}", file=sys.stderr)
        raise SystemExit(1)
    if "torch" not in sys.modules:
        gc.disable()  # imports leave no garbage, and looking for it takes a fifth of their time; see `fail_clearly`
    with _interruptible(verb):
        runpy.run_module(f"unmask.commands.{verb}", run_name="__main__", alter_sys=True)


def unwritable(arguments: list[str]) -> str | None:
    """Why no run's folder can be made where the arguments put it; None where it can."""
    key = "hydra.run.dir="
    place = Path(
        next((text.removeprefix(key).strip("'") for text in reversed(arguments) if text.startswith(key)), "outputs")
    )
    there = next((folder for folder in (place, *place.absolute().parents) if folder.exists()), Path("/"))
    if not os.access(there, os.W_OK):
        return f"cannot write to {there}: choose a folder that can be written, with hydra.run.dir=DIR"
    if shutil.disk_usage(there).free == 0:
        return f"cannot write to {there}: no space left; free some space, or choose another disk with hydra.run.dir=DIR"
    return None


def parse(verb: str, arguments: list[str]) -> list[str]:
    """What a verb is given: Hydra's flags first, each with its value, then the overrides, quoted for Hydra's grammar.

    Raises:
        UsageError: a flag is unknown, lacks its value or has a wrong one, or a key is given twice.
    """
    flags, others = split(arguments)
    if verb in WORDS:
        if flags:
            raise UsageError(f"{flags[0][0]}: {verb} takes words and no flags; see unmask {verb} --help")
        return [quote(argument) for argument in others]
    check_flags(flags)
    overrides = [quote(argument) for argument in others]
    if twice := repeated(overrides):
        raise UsageError(twice)
    return [part for flag in flags for part in flag if part is not None] + overrides


def split(arguments: list[str]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Tell Hydra's flags, as (flag, value or None), from other arguments; what follows `--` is no flag.

    Raises:
        UsageError: there is no such flag, or its value is missing.
    """
    flags, others, rest = list[tuple[str, str | None]](), list[str](), list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if argument == "--":
            return flags, [*others, *(f"./{name}" if name.startswith("-") else name for name in rest)]
        if not argument.startswith("-") or argument == "-":
            others.append(argument)
        elif name in VALUED:
            if not equals and (not rest or rest[0].startswith("-")):
                raise UsageError(f"{name} needs a value{_expected(name)}")
            flags.append((name, value if equals else rest.pop(0)))
        elif name in INFO:
            follows = bool(rest) and rest[0] in CHOICES[INFO]
            flags.append((name, value if equals else rest.pop(0) if follows else "all"))
        elif argument in BARE:
            flags.append((argument, None))
        else:
            raise UsageError(_unknown(argument))
    return flags, others


def check_flags(flags: list[tuple[str, str | None]]) -> None:
    """Refuse flags that do not go together.

    Raises:
        UsageError: a value is none of the choices, two of them exclude each other, or one has no effect.
    """
    for name, value in flags:
        if (expected := _expected(name)) and not any(value in of for names, of in CHOICES.items() if name in names):
            raise UsageError(f"{name} {value}{expected}")
    given = {name for name, _ in flags}
    actions = [name for names in ACTIONS for name in names if name in given]
    if len(actions) > 1:
        raise UsageError(f"{' and '.join(actions)}: expected one of them")
    for name in ("--resolve", "--package", "-p"):
        if name in given and not given & {"--cfg", "-c"}:
            raise UsageError(f"{name} has no effect without --cfg")


def _expected(flag: str) -> str:
    return next((f": expected one of {', '.join(of)}" for names, of in CHOICES.items() if flag in names), "")


def _unknown(argument: str) -> str:
    name, equals, value = argument.lstrip("-").partition("=")
    if os.path.exists(argument):
        return f"{argument}: a file whose name begins with - is written ./{argument}"
    hint = f"; keys have no dashes: {name}={value}" if equals and _is_key(name) else ""
    return f"there is no flag {argument.partition('=')[0]}{hint}; see unmask --help, and --hydra-help for Hydra's flags"


@contextmanager
def _interruptible(verb: str) -> Iterator[None]:
    """On Ctrl-C print one line and exit with 130, also while a verb is imported.

    An import that is interrupted may turn KeyboardInterrupt into something else, so until the verb itself begins
    (see `fail_clearly`, which also handles SIGTERM) the process ends at once; it has nothing to clean up.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        print(f"unmask: {interrupted(verb)}", file=sys.stderr, flush=True)
        os._exit(130)

    before = signal.getsignal(signal.SIGINT)
    try:
        ours = before is signal.default_int_handler and signal.signal(signal.SIGINT, leave) is before
    except ValueError:  # not in the main thread
        ours = False
    try:
        yield
    except KeyboardInterrupt:
        print(f"unmask: {interrupted(verb)}", file=sys.stderr, flush=True)
        raise SystemExit(130) from None
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def interrupted(verb: str) -> str:
    """What is said of a call that Ctrl-C or SIGTERM ended."""
    return "interrupted; the same command resumes" if verb in RESUMED else "interrupted"


def _complete(arguments: list[str]) -> list[str] | None:
    """What answers a shell that completes `unmask VERB ...`; None where the verb itself is to be completed.

    Hydra's scripts know programs without verbs: the verb is taken out of the line that they pass on.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if arguments[-1].partition("=")[0] != "query":
        return ["train", *arguments]  # what is installed is the same for all verbs
    if len(words) < 2 or words[1] not in verbs() or (len(words) == 2 and not line.endswith(" ")):
        print(" ".join(verbs()))
        return None
    if words[1] in WORDS:
        return None
    os.environ["COMP_LINE"] = f"{words[0]} {line.partition(words[1])[2].lstrip()}"
    return [words[1], *arguments]


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
    tail = [
        "unmask VERB --help explains a verb; --cfg job shows its whole config; --hydra-help lists Hydra's flags.",
        "unmask --version prints the version.",
    ]
    return "\n".join([*head, *lines, "", *tail])


def quote(argument: str) -> str:
    """Make one shell argument safe for Hydra: a bare path becomes `path='...'`, plain values are quoted.

    The config names few of the Trainer's arguments; all of them are taken, with and without the plus sign.
    """
    if argument.startswith(("-", "~")):
        return argument
    key, equals, value = argument.partition("=")
    if not equals or not _is_key(key) or os.path.exists(argument):
        key, value = "path", argument
    if key.lstrip("+").startswith("trainer."):  # checked against Lightning's Trainer, whatever the config names
        return f"++{key.lstrip('+')}={value}"
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
