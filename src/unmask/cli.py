"""The console command `unmask VERB key=value ...`; nearly every verb is a Hydra application."""

import ast
import atexit
import gc
import os
import runpy
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import NoReturn

from unmask.arguments import WORDS, UsageError, parse, shows, unquote
from unmask.config import lone_word
from unmask.parallel.processes import interrupted

WITH_FILES = ("predict", *WORDS)  # verbs that take words without a key
# Verbs of other programs, and what they are called here.
SYNONYMS = {
    "detect": "predict", "score": "predict", "infer": "predict", "eval": "evaluate", "test": "evaluate", "fit": "train",
    "generate": "sample", "version": "--version",
}  # fmt: skip


def run() -> NoReturn:
    """Run `main`, then end the process without unloading its modules: unloading PyTorch takes seconds.

    As at a normal exit, threads are joined, exit functions are called and output is flushed before the process ends.
    """
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # `multiprocessing` does the same at the end of a process
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by the reader, such as `head`
            stream.flush()
    os._exit(code if isinstance(code, int) else code is not None)


def main() -> None:
    """Run one verb in the way of `python -m unmask.commands.VERB`, which Hydra and Lightning's processes require."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return
    if "--version" in arguments:
        print(f"unmask {version('unmask')}")
        return
    if arguments[0] in ("-sc", "--shell-completion", "--hydra-help"):  # flags without a verb
        if (completed := _complete(arguments)) is None:
            return
        arguments = completed
    verb, *rest = arguments
    if verb not in verbs():
        print(f"unmask: {_unknown(verb)}", file=sys.stderr)
        raise SystemExit(2)
    if any(argument in ("-h", "--help") for argument in rest):
        print(describe(verb))
        return
    try:
        sys.argv = [sys.argv[0], *parse(verb, rest)]
    except UsageError as error:
        print(f"unmask: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if problem := misplaced(verb) or (unwritable(rest) if verb == "train" else None):
        print(f"unmask: {problem}", file=sys.stderr)
        raise SystemExit(1)
    if any(shows(argument) for argument in sys.argv[1:]):
        from unmask.application import show_config

        show_config(verb)
        return
    if "torch" not in sys.modules:
        gc.disable()  # collecting garbage takes a fifth of the import time; `fail_clearly` enables it again
    with _interruptible(verb):
        runpy.run_module(f"unmask.commands.{verb}", run_name="__main__", alter_sys=True)


def _unknown(verb: str) -> str:
    expected = f"expected one of {', '.join(verbs())}"
    if verb.startswith("-"):
        return f"{verb}: expected a verb first, one of {', '.join(verbs())}"
    if "=" in verb:
        return f"the verb comes first: unmask VERB {verb}; {expected}"
    if os.path.exists(verb) or "." in verb:
        return f"unknown verb '{verb}'; to examine a file, write: unmask predict {verb} run=DIR"
    meant = SYNONYMS.get(verb.lower()) or next(iter(get_close_matches(verb, verbs(), n=1)), None)
    return f"unknown verb '{verb}'; " + (f"did you mean unmask {meant}?" if meant else expected)


def misplaced(verb: str) -> str | None:
    """Return an error message if there is a word without a key, such as a preset, that the verb does not take."""
    words = [argument.removeprefix("path=") for argument in sys.argv[1:] if argument.startswith("path=")]
    return lone_word(unquote(words[0])) if words and verb not in WITH_FILES else None


def unwritable(arguments: list[str]) -> str | None:
    """Return an error message if the run folder (`hydra.run.dir`, or `outputs`) cannot be written; else None.

    Hydra would fail with a traceback.
    """
    key = "hydra.run.dir="
    place = Path(
        next((text.removeprefix(key).strip("'") for text in reversed(arguments) if text.startswith(key)), "outputs")
    )
    there = next((folder for folder in (place, *place.absolute().parents) if folder.exists()), Path("/"))
    if not os.access(there, os.W_OK):
        return f"cannot write to {there}: choose a writable folder with hydra.run.dir=DIR"
    if shutil.disk_usage(there).free == 0:
        return f"cannot write to {there}: no space left; free some space, or choose another disk with hydra.run.dir=DIR"
    return None


@contextmanager
def _interruptible(verb: str) -> Iterator[None]:
    """On Ctrl-C, print one line and exit with code 130, even while a verb is being imported.

    An import may turn KeyboardInterrupt into another error. Therefore, Ctrl-C during the import ends the process
    immediately; there is nothing to clean up yet. Once the verb runs, `fail_clearly` handles Ctrl-C and SIGTERM.
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


def _complete(arguments: list[str]) -> list[str] | None:
    """Return the verb and the arguments for Hydra's shell completion of `unmask VERB ...`; None if Hydra is not needed.

    Hydra's completion does not know verbs, so the verb is removed from the command line in COMP_LINE.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if arguments[-1].partition("=")[0] != "query":
        return ["train", *arguments]  # the installed script is the same for all verbs
    if len(words) < 2 or words[1] not in verbs() or (len(words) == 2 and not line.endswith(" ")):
        print(" ".join(verbs()))
        return None
    if words[1] in WORDS:
        return None
    os.environ["COMP_LINE"] = f"{words[0]} {line.partition(words[1])[2].lstrip()}"
    return [words[1], *arguments]


def verbs() -> list[str]:
    """List the verbs: the file names in `unmask/commands`."""
    names = (entry.name for entry in files("unmask.commands").iterdir())
    return sorted(name.removesuffix(".py") for name in names if name.endswith(".py") and not name.startswith("_"))


def describe(verb: str) -> str:
    """Return the help of a verb: the docstring of its module, read without the slow import of the module."""
    source = files("unmask.commands").joinpath(f"{verb}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or verb


def overview() -> str:
    """Return the usage text with one line per verb, in the order of a typical workflow."""
    order = ["demo", "prepare", "train", "evaluate", "import", "report", "predict", "serve", "export", "publish"]
    order += ["sample", "swap", "inpaint", "list"]
    known = sorted(verbs(), key=lambda verb: (order.index(verb) if verb in order else len(order), verb))
    lines = [f"  {verb:<10} {describe(verb).splitlines()[0]}" for verb in known]
    head = ["unmask makes and detects deepfakes.", "", "Usage: unmask VERB key=value ...", ""]
    tail = [
        "unmask VERB --help explains a verb; --cfg job shows its whole config; --hydra-help lists Hydra's flags.",
        "unmask --version prints the version.",
    ]
    return "\n".join([*head, *lines, "", *tail])
