"""Check a composed config before anything expensive happens.

The constructor's signature is the schema: every `_target_` must be allowed, must import and must accept the keys
written next to it. All problems are reported at once, each by its dotted path. Nothing is instantiated here.
"""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unmask.config.allowed import locate

HYDRA_KEYS = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}


class ConfigError(ValueError):
    """The config cannot describe a run; the message lists every problem, one per line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        listing = "\n".join(f"  {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{count} in the config:\n{listing}\nTo see the whole config, add: --cfg job")


def validate(cfg: DictConfig, *only: str) -> None:
    """Raise `ConfigError` unless every value is set and every `_target_` is allowed and accepts its keys.

    Args:
        cfg: the composed config.
        only: dotted paths of the parts that will be used; the whole config where none is given.
    """
    parts = [(path, OmegaConf.select(cfg, path)) for path in only] if only else [("", cfg)]
    found = [problem for path, node in parts if node is not None for problem in _problems(path, node)]
    missing = {path for path, text in found if text.startswith("no value")}
    # An interpolation that points at a missing value repeats one problem: the missing value is told once.
    told = dict.fromkeys(f"{path}: {text}" for path, text in found if not _repeats(cfg, path, missing, bool(only)))
    if told:
        raise ConfigError(list(told))


def _repeats(cfg: DictConfig, path: str, missing: set[str], partial: bool) -> bool:
    """Whether the problem at `path` is an interpolation of a value that is reported as missing itself."""
    parent, _, key = path.rpartition(".")
    node = OmegaConf.select(cfg, parent, throw_on_missing=False) if parent else cfg
    if partial or not isinstance(node, DictConfig) or key not in node or not OmegaConf.is_interpolation(node, key):
        return False
    raw = str(OmegaConf.to_container(node, resolve=False)[key])  # type: ignore[index, call-overload]
    return any(raw == f"${{{root}}}" for root in missing)


def _problems(path: str, node: Any) -> Iterator[tuple[str, str]]:
    """Yield (dotted path, what is wrong) for a mapping or list and everything below it."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield from _check_target(path, node)
        keys: list[Any] = list(node)
    elif isinstance(node, ListConfig):
        keys = list(range(len(node)))
    else:
        return
    for key in keys:
        where = f"{path}.{key}" if path else str(key)
        if OmegaConf.is_missing(node, key):
            yield where, f"no value; pass {where}=..."
            continue
        try:
            child = node[key]
        except OmegaConfBaseException as error:
            yield where, str(error).splitlines()[0]
            continue
        if not OmegaConf.is_interpolation(node, key):
            yield from _problems(where, child)


def _check_target(path: str, node: DictConfig) -> Iterator[tuple[str, str]]:
    at = f"{path}._target_" if path else "_target_"
    name = OmegaConf.to_container(node, resolve=False)["_target_"]  # type: ignore[index, call-overload]
    try:
        parameters = list(inspect.signature(locate(name)).parameters.values())
    except PermissionError as error:
        yield at, str(error)
        return
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        yield at, f"cannot import '{name}': {error}"
        return
    yield from _check_keys(path, node, name, parameters)


def _check_keys(
    path: str, node: DictConfig, name: str, parameters: list[inspect.Parameter]
) -> Iterator[tuple[str, str]]:
    accepted = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    given = [str(key) for key in node if key not in HYDRA_KEYS]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for key in given:
        if key not in accepted and not open_ended:
            close = get_close_matches(key, accepted, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it takes {', '.join(accepted)}"
            yield f"{path}.{key}", f"{name} has no argument '{key}'; {hint}"
    if node.get("_partial_", False):
        return
    positional = len(node.get("_args_") or ())
    for number, p in enumerate(parameters):
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            if p.name not in given and number >= positional:
                yield path, f"{name} needs '{p.name}'"
