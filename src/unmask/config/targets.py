"""Check each `_target_` of a config, and the keys next to it, against the signature of the constructor.

Every `_target_` must be allowed, must import and must accept the keys next to it. Nothing is instantiated here.
"""

import inspect
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches

from unmask.config import Settings, either
from unmask.config.allowed import locate

HYDRA_KEYS = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}


class ConfigError(ValueError):
    """The config is invalid; the message lists every problem, one per line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        listing = "\n".join(f"  {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{count} in the config:\n{listing}\nTo see the whole config, add: --cfg job")


def check_tree(tree: Settings | list[object], path: str) -> None:
    """Raise `ConfigError` unless every `_target_` of a plain tree is allowed and accepts its keys.

    Args:
        tree: mappings, lists, numbers and text.
        path: dotted path of `tree` in the config.
    """
    if problems := [f"{at}: {text}" for at, text in _walk(path, tree)]:
        raise ConfigError(problems)


def _walk(path: str, node: object) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and "_target_" in node:
        yield from check_target(path, node)
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in below:
        yield from _walk(f"{path}.{key}", value)


def check_target(path: str, node: Settings) -> Iterator[tuple[str, str]]:
    """Yield (dotted path, problem) for the `_target_` of a mapping and the keys next to it."""
    at = f"{path}._target_" if path else "_target_"
    name = node["_target_"]
    try:
        parameters = list(inspect.signature(locate(name)).parameters.values())
    except PermissionError as error:
        yield at, str(error)
        return
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        yield at, f"cannot import '{name}': {error}"
        return
    yield from _check_keys(path, node, name, parameters)


def _check_keys(path: str, node: Settings, name: str, parameters: list[inspect.Parameter]) -> Iterator[tuple[str, str]]:
    accepted = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    given = [str(key) for key in node if key not in HYDRA_KEYS]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for key in given:
        if key not in accepted and not open_ended:
            close = [repr(name) for name in nearest(key, accepted)]
            hint = f"did you mean {either(close)}?" if close else f"it accepts {', '.join(accepted)}"
            yield f"{path}.{key}", f"{name} has no argument '{key}'; {hint}"
    if node.get("_partial_", False):
        return
    positional = len(node.get("_args_") or ())
    for number, p in enumerate(parameters):
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            if p.name not in given and number >= positional:
                yield path, f"{name} needs the argument '{p.name}'"


def nearest(name: str, known: Sequence[str]) -> list[str]:
    """Return the most similar known name, or several equally similar names; empty if no name is similar."""
    close = get_close_matches(name, known, n=3)
    ratios = [SequenceMatcher(None, one, name).ratio() for one in close]
    return sorted(one for one, ratio in zip(close, ratios, strict=True) if ratio == ratios[0])
