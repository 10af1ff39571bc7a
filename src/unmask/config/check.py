"""Check a composed config before anything expensive runs; report all problems at once, each with its dotted path."""

import functools
import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unmask.config import Settings
from unmask.config.annotations import misfits
from unmask.config.targets import ConfigError, check_target
from unmask.config.values import out_of_range

REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")  # such as ${image_size} or ${..root}


def validate(cfg: DictConfig, *only: str) -> None:
    """Raise `ConfigError` unless every value is set and every `_target_` is allowed and accepts its keys.

    Args:
        cfg: the composed config.
        only: dotted paths of the parts to check; without any path, the whole config is checked.
    """
    parts = [(path, OmegaConf.select(cfg, path)) for path in only] if only else [("", cfg)]
    found = [problem for path, node in parts if node is not None for problem in _problems(path, node)]
    missing = {path for path, text in found if text.startswith("no value")}
    # An interpolation of a missing value has the same problem again, so report only the missing value.
    told = dict.fromkeys(f"{path}: {text}" for path, text in found if not _repeats(cfg, path, missing, bool(only)))
    if told:
        raise ConfigError(list(told))


def resolved(cfg: DictConfig, *only: str) -> Settings:
    """Check a config, or some parts of it; return the result as mappings, lists and values without interpolations.

    Args:
        cfg: the composed config.
        only: dotted paths of the parts to check and return. Without any path, the whole config is checked and
            returned.

    Raises:
        ConfigError: a value is not set, or a `_target_` is invalid; see `validate`.
        ValueError: a value is out of range or does not match its constructor's annotation.
    """
    validate(cfg, *only)
    found: Settings = {} if only else OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    for path in only:
        *above, name = path.split(".")
        node = OmegaConf.select(cfg, path)
        place = functools.reduce(lambda inner, key: inner.setdefault(key, {}), above, found)
        place[name] = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    wrong = {key: text for key, text in _misfits(cfg, found)} | dict(out_of_range(found))
    if wrong:
        several = [f"{len(wrong)} values are wrong:"] if len(wrong) > 1 else []
        raise ValueError("\n  ".join([*several, *(f"{key}={text}" for key, text in wrong.items())]))
    return found


def _misfits(cfg: DictConfig, found: Settings) -> Iterator[tuple[str, str]]:
    """Yield the results of `annotations.misfits`, each with the key that a user would have to change.

    A value that refers to a null key is not reported, because the command sets this key later (for example, `evaluate`
    sets `image_size`).
    """
    for path, text in misfits(found):
        origin = _origin(cfg, path)
        if origin == path or OmegaConf.select(cfg, origin) is not None:
            yield origin, text


def _origin(cfg: DictConfig, path: str) -> str:
    """Follow the interpolations from `path` to the key that holds the value, which a user would have to change."""
    parent, _, key = path.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    raw = OmegaConf.to_container(node, resolve=False).get(key) if isinstance(node, DictConfig) else None  # type: ignore[union-attr]
    return _origin(cfg, *_references(str(raw), path)) if REFERENCE.fullmatch(str(raw)) else path


def _references(raw: str, path: str) -> set[str]:
    """Return the keys that the interpolation at `path` refers to; leading dots make a reference relative to `path`."""
    return {".".join([*path.split(".")[: -len(dots)], name]) if dots else name for dots, name in REFERENCE.findall(raw)}


def _repeats(cfg: DictConfig, path: str, missing: set[str], partial: bool) -> bool:
    """Return whether `path` is an interpolation of a value in `missing`, whose problem is reported already."""
    parent, _, key = path.rpartition(".")
    node = OmegaConf.select(cfg, parent, throw_on_missing=False) if parent else cfg
    if partial or not isinstance(node, DictConfig) or key not in node or not OmegaConf.is_interpolation(node, key):
        return False
    raw = str(OmegaConf.to_container(node, resolve=False)[key])  # type: ignore[index, call-overload]
    return not missing.isdisjoint(_references(raw, path))


def _problems(path: str, node: Any) -> Iterator[tuple[str, str]]:
    """Yield (dotted path, problem) for a mapping or list and everything inside it."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield from check_target(path, OmegaConf.to_container(node, resolve=False))  # type: ignore[arg-type]
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
            said, _, _ = str(error).partition("\n    full_key:")  # the rest is for developers
            yield where, " ".join(said.split())
            continue
        if not OmegaConf.is_interpolation(node, key):
            yield from _problems(where, child)
