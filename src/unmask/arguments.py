"""Parse the arguments after a verb: check Hydra's flags and quote overrides for Hydra's grammar."""

import os
import re
from collections.abc import Sequence

# Keys whose values, such as paths, may contain spaces, brackets or `=`, which Hydra's grammar accepts only in quotes.
PLAIN = (
    "path", "run", "model", "video", "root", "data.root", "data.run", "data.group", "out", "scores", "validation",
    "weights", "cite",
)  # fmt: skip
WORDS = ("list",)  # verbs that take plain words instead of overrides
MANY = {"predict": ("path",)}  # keys of a verb that may be given several times
REPORT = ("table", "run", "out", "scores", "overrides", "title", "resamples")  # keys of conf/report.yaml

# Hydra's flags: without a value, with a value, and (INFO) with an optional value.
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
# Hydra performs only one of these actions, so only one of these flags may be given.
ACTIONS = (("--run", "-r"), ("--multirun", "-m"), ("--cfg", "-c"), INFO, ("--shell-completion", "-sc"))


class UsageError(ValueError):
    """The command line is invalid."""


def parse(verb: str, arguments: list[str]) -> list[str]:
    """Return the arguments for Hydra: first Hydra's flags with their values, then the overrides, quoted for Hydra.

    Raises:
        UsageError: a flag is unknown, lacks a value, has a wrong value or no effect, or cannot be combined with another
            flag; or a key is given twice.
    """
    flags, others = split(arguments)
    if verb in WORDS:
        if flags:
            raise UsageError(f"{flags[0][0]}: {verb} takes no flags; see unmask {verb} --help")
        return [quote(argument) for argument in others]
    if verb == "evaluate" and not flags and any(re.fullmatch(r"data=\w+(,\w+)+", argument) for argument in others):
        flags = [("--multirun", None)]  # evaluate several data sets, one after the other
    check_flags(flags)
    overrides = [quote(argument) for argument in others]
    if twice := repeated(overrides, MANY.get(verb, ())):
        raise UsageError(twice)
    if verb == "report" and any(argument.startswith("table=") for argument in others):
        overrides = [quote(argument) for argument in for_rows(others)]
    return [part for flag in flags for part in flag if part is not None] + overrides


def for_rows(arguments: list[str]) -> list[str]:
    """Move arguments that `unmask report` does not know to its key `overrides`, which applies to every row of a table.

    Raises:
        UsageError: there are such arguments, and `overrides` is also given.
    """
    rest = [argument for argument in arguments if not _is_own(argument)]
    if not rest:
        return arguments
    if any(argument.startswith("overrides=") for argument in arguments):
        raise UsageError(f"{rest[0]}: give overrides of the rows either in overrides=[...] or as arguments, not both")
    kept = [argument for argument in arguments if _is_own(argument)]
    return [*kept, f"overrides=[{','.join(map(_quoted, rest))}]"]


def _is_own(argument: str) -> bool:
    """Return whether an argument is for `unmask report` itself: it sets one of its keys, or is not an override."""
    key, equals, _ = argument.partition("=")
    if not equals and not argument.startswith("~"):
        return True
    return re.split("[./@]", key.lstrip("+~"))[0] in (*REPORT, "hydra", "local")


def split(arguments: list[str]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Separate Hydra's flags, each as (flag, value or None), from all other arguments. Nothing after `--` is a flag.

    Raises:
        UsageError: a flag is unknown, or the value of a flag is missing.
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
        elif argument == "--run" and rest and "=" not in rest[0]:
            raise UsageError("--run: write run=DIR, without dashes")
        elif argument in BARE:
            flags.append((argument, None))
        else:
            raise UsageError(_unknown(argument))
    return flags, others


def check_flags(flags: list[tuple[str, str | None]]) -> None:
    """Reject invalid flag values and flags that cannot be combined.

    Raises:
        UsageError: a value is not one of the choices, two flags exclude each other, or a flag has no effect.
    """
    for name, value in flags:
        if (expected := _expected(name)) and not any(value in of for names, of in CHOICES.items() if name in names):
            raise UsageError(f"{name} {value}{expected}")
    given = {name for name, _ in flags}
    actions = [name for names in ACTIONS for name in names if name in given]
    if len(actions) > 1:
        raise UsageError(f"{' and '.join(actions)}: use only one of these flags")
    for name in ("--resolve", "--package", "-p"):
        if name in given and not given & {"--cfg", "-c"}:
            raise UsageError(f"{name} has no effect without --cfg")


def shows(argument: str) -> bool:
    """Return whether this flag makes Hydra print something instead of running the verb."""
    return any(argument in names for names in ACTIONS[2:])


def _expected(flag: str) -> str:
    return next((f": expected one of {', '.join(of)}" for names, of in CHOICES.items() if flag in names), "")


def _unknown(argument: str) -> str:
    name, equals, value = argument.lstrip("-").partition("=")
    if os.path.exists(argument):
        return f"{argument}: for a file whose name begins with -, write ./{argument}"
    hint = (
        f"; write keys without dashes: {name}={value if equals else 'VALUE'}" if len(name) > 1 and _is_key(name) else ""
    )
    return f"unknown flag {argument.partition('=')[0]}{hint}; see unmask --help, and --hydra-help for Hydra's flags"


def quote(argument: str) -> str:
    """Quote one argument for Hydra's grammar; a bare path becomes `path='...'`.

    Keys below `trainer` get the prefix `++`, because the config contains only a few of the Trainer's arguments.
    """
    if argument.startswith(("-", "~")):
        return argument
    key, equals, value = argument.partition("=")
    if not equals or not _is_key(key) or os.path.exists(argument):
        key, value = "path", argument
    if key.lstrip("+").startswith("trainer."):  # validated against Lightning's Trainer, not against the config
        return f"++{key.lstrip('+')}={value}"
    listed = value.startswith("[") and value.endswith("]")
    if key.lstrip("+") not in PLAIN or value == "null" or value.startswith(("'", '"', "${")) or listed:
        return argument
    return f"{key}={_quoted(value)}"


def _quoted(value: str) -> str:
    """Put a value in single quotes. Backslashes are doubled only before a quote; Hydra takes all others literally."""
    escaped = re.sub(r"(\\*)'", r"\1\1\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def unquote(value: str) -> str:
    """Remove the quotes that `quote` put around a value; a value that is not in quotes is returned unchanged."""
    if len(value) < 2 or value[0] != "'" or value[-1] != "'":
        return value
    inner = re.sub(r"(\\+)'", lambda found: "\\" * (len(found[1]) // 2) + "'", value[1:-1])
    return re.sub(r"(\\+)$", lambda found: "\\" * (len(found[1]) // 2), inner)


def repeated(arguments: list[str], many: Sequence[str] = ()) -> str | None:
    """Return an error message if a key is given twice, else None. Hydra would silently use the last value.

    Args:
        arguments: the overrides.
        many: keys that may be given several times.
    """
    given: dict[str, list[str]] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and _is_key(key) and not key.startswith("~"):
            given.setdefault(key.lstrip("+"), []).append(value)
    for key, values in given.items():
        if len(values) > 1 and key not in many:
            several = "; for several files, run the command once per file" if key == "path" else ""
            return f"{key} is given {len(values)} times ({', '.join(values)}), but takes one value{several}"
    return None


def _is_key(text: str) -> bool:
    """Return whether `text` can be the key of an override: `a.b`, `+a`, `~a`, `group/sub@package`."""
    return bool(text) and all(
        part.isidentifier() for part in text.lstrip("+~").replace("/", ".").replace("@", ".").split(".")
    )
