"""Read the config that came with a run and may be untrusted: parse it safely, resolve its references, check it.

Only the parts of the config that describe the run's data and module are read. The config may refer to its own values
(`${image_size}`), but may not call a resolver, name an output path or download weights. Sizes are limited.
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from unmask.config import Settings
from unmask.config.allowed import NEUTRAL, OFFLINE, TRAINING, WRITERS, WRITING, is_below
from unmask.files import printable

PARTS = ("name", "seed", "image_size", "frames", "data", "module")  # all other keys are only for training
BYTES, NODES, DEPTH, TEXT = 1_000_000, 20_000, 32, 4_096  # limits: file size, number of values, nesting, text length
NUMBER = 1_000_000  # the largest count or size of any kind
SEEDS = ("seed", "split_seed")
PIXELS = 4_096  # the largest image side
SAMPLE = 4_000_000_000  # the largest sample in bytes
SIDES = ("image_size", "crop_size")
# Modules whose classes may build each part.
HOMES = {
    "data.source": ("unmask.datasets",),
    "data.recipe": ("unmask.media",),
    "data.split": ("unmask.data.split", "unmask.datasets"),
    "data.sampling": ("unmask.data.dataset", "unmask.data.sounds", "unmask.datasets"),
    "data.loader": ("unmask.data.loader",),
    "data.augment": ("unmask.data.augment",),
    "data.blend": ("unmask.data.blend",),
    "module": ("unmask.modules",),
}

_REFERENCE = re.compile(r"\$\{(\.*)([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}")
_FILE_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")


class ForeignConfigError(ValueError):
    """The config that came with a run was rejected; the message names the file, the key and the reason."""


def read_config(path: Path) -> Settings:
    """Read the `PARTS` of a run's config as a tree of mappings, lists and values with interpolations resolved.

    Args:
        path: a `.hydra/config.yaml`.

    Returns:
        The `PARTS` that the file contains. Arguments that name weights or allow a download are set to `NEUTRAL` values,
        so that nothing is downloaded.

    Raises:
        ForeignConfigError: the file is damaged, or contains something that is not allowed in such a config.
    """
    if not path.is_file():
        raise ForeignConfigError(f"{path} is refused: it is not a regular file")
    with path.open("rb") as file:
        return checked_config(file.read(BYTES + 1), str(path), str(path.parent.parent))


def checked_config(raw: bytes, name: str, out: str) -> Settings:
    """Return the `PARTS` of a config as `read_config` does, from the bytes of the YAML.

    Args:
        raw: the YAML.
        name: where it comes from, for the messages.
        out: the output folder, for `${paths.out}`.

    Raises:
        ForeignConfigError: see `read_config`.
    """
    try:
        tree = _parse(raw)
        tree["paths"] = {  # the paths in the file are replaced by the paths of this machine
            "data": os.environ.get("UNMASK_DATA", "data"),
            "prepared": os.environ.get("UNMASK_PREPARED", "outputs/prepared"),
            "out": out,
        }
        parts = {key: _Resolver(tree).value(tree[key], (key,)) for key in PARTS if key in tree}
        parts = {key: _checked(value, key) for key, value in parts.items()}
        _check_names(parts)
        _check_samples(parts)
    except ForeignConfigError as error:
        raise ForeignConfigError(f"{name} is refused: {error}") from None
    return parts


def check_parts(node: object, at: str) -> None:
    """Reject targets and arguments that are not allowed in a config that came with a run.

    Args:
        node: a config as mappings, lists, numbers and text.
        at: dotted path of `node`.

    Raises:
        ForeignConfigError: a target or an argument is rejected.
    """
    homes = HOMES.get(at, ())
    target = str(node.get("_target_")) if isinstance(node, dict) else ""
    if homes and not any(is_below(target, home) for home in homes):
        raise ForeignConfigError(f"{at}._target_: expected a class of {' or '.join(homes)}")
    if isinstance(node, dict) and node.get("_partial_"):
        raise ForeignConfigError(
            f"{at}._partial_: expected false, because an object is needed, not a function that builds it"
        )
    for where, part in _walk(node, at):
        if not isinstance(part, dict) or "_target_" not in part:
            continue
        target = str(part["_target_"])
        if any(is_below(target, root) for root in (*(name.split(".")[0] for name in TRAINING), *WRITERS)):
            raise ForeignConfigError(f"{where}._target_: '{target}' is for training only")
        if target not in OFFLINE and (named := sorted(WRITING & {str(key) for key in part})):
            raise ForeignConfigError(f"{where}.{named[0]}: a run's config may not set output paths")


def _parse(raw: bytes) -> Settings:
    """Check the size, nesting and number of values of YAML, then parse it as mappings, lists and values."""
    if len(raw) > BYTES:
        raise ForeignConfigError(f"it has more than {BYTES:,} bytes")
    try:
        text = raw.decode()
        depth = count = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            count += 1
            if isinstance(event, yaml.AliasEvent):
                raise ForeignConfigError(f"it contains a YAML alias (*{event.anchor}), which is not allowed")
            if depth > DEPTH or count > NODES:
                raise ForeignConfigError(
                    f"it is nested more than {DEPTH} levels deep or has more than {NODES:,} values"
                )
        tree = yaml.load(text, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, ForeignConfigError):
            raise
        raise ForeignConfigError(f"it is not readable YAML ({str(error).splitlines()[0][:160]})") from None
    if not isinstance(tree, dict) or not all(isinstance(tree.get(key, {}), dict) for key in ("data", "module")):
        raise ForeignConfigError("it is not a config: expected a mapping with the keys data and module")
    return tree


class _Loader(yaml.SafeLoader):
    """Load YAML with the rules of OmegaConf: 1e-4 is a number, and dates are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":float"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:\d[\d_]*\.[\d_]*(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.\d[\d_]*(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


class _Resolver:
    """Replace references such as `${image_size}` by values, up to `NODES` values in total."""

    def __init__(self, tree: Settings) -> None:
        self.tree, self.made = tree, 0

    def value(self, node: object, at: tuple[str, ...], depth: int = 0) -> object:
        """Return `node` with all references resolved; `at` are the keys that lead to `node`."""
        self.made += 1
        if self.made > NODES or depth > DEPTH:
            raise ForeignConfigError(f"{'.'.join(at)}: references form a cycle or expand to more than {NODES:,} values")
        if isinstance(node, dict):
            if not all(isinstance(key, str) for key in node):
                raise ForeignConfigError(f"{'.'.join(at)}: expected keys that are strings")
            return {key: self.value(value, (*at, key), depth + 1) for key, value in node.items()}
        if isinstance(node, list):
            return [self.value(value, (*at, str(number)), depth + 1) for number, value in enumerate(node)]
        return self.text(node, at, depth) if isinstance(node, str) else node

    def text(self, text: str, at: tuple[str, ...], depth: int) -> object:
        """Replace the references in a text. If the text is a single reference, return the value itself, of any type."""
        where = ".".join(at)
        if len(text) > TEXT:
            raise ForeignConfigError(f"{where}: the text is longer than {TEXT:,} characters")
        if whole := _REFERENCE.fullmatch(text):
            return self.reference(whole, at, depth)
        parts, last = [], 0
        for found in _REFERENCE.finditer(text):
            parts += [text[last : found.start()], str(self.reference(found, at, depth))]
            last = found.end()
        filled = "".join([*parts, text[last:]])
        if "${" in filled:  # a resolver, or a reference that was assembled from parts
            raise ForeignConfigError(
                f"{where}: '{printable(text[:80])}' calls a resolver, and a config that came with a run may only refer "
                "to its own values. If you trained this run with an older version, run the same training command "
                "again: the run is not repeated, and its config is rewritten with plain values"
            )
        if len(filled) > TEXT:
            raise ForeignConfigError(f"{where}: the text is longer than {TEXT:,} characters")
        return filled

    def reference(self, found: re.Match[str], at: tuple[str, ...], depth: int) -> object:
        """Return the value that a reference refers to; a reference with leading dots is relative, as in OmegaConf."""
        dots, key = found.groups()
        keys = (*(at[: len(at) - len(dots)] if dots else ()), *key.split("."))
        node: object = self.tree
        for name in keys:
            inside = isinstance(node, dict) and name in node
            if not inside and not (isinstance(node, list) and name.isdecimal() and int(name) < len(node)):
                raise ForeignConfigError(f"{'.'.join(at)}: it refers to {'.'.join(keys)}, which does not exist")
            node = node[name] if isinstance(node, dict) else node[int(name)] if isinstance(node, list) else None
        return self.value(node, keys, depth + 1)


def _checked(node: object, at: str, key: str = "") -> object:
    """Check that all numbers are within bounds; return the tree, with neutral values for download arguments."""
    if isinstance(node, dict):
        neutral = {name: _neutral(name, value) for name, value in node.items()} if "_target_" in node else node
        return {name: _checked(value, f"{at}.{name}", name) for name, value in neutral.items()}
    if isinstance(node, list):
        return [_checked(value, f"{at}.{number}", key) for number, value in enumerate(node)]
    if isinstance(node, bool) or node is None or isinstance(node, str):
        return node
    if not isinstance(node, int | float) or not math.isfinite(node):
        raise ForeignConfigError(f"{at}: {node} is not a finite number")
    most = PIXELS if key in SIDES else 2**64 if (key or at) in SEEDS else NUMBER
    if abs(node) > most:
        raise ForeignConfigError(f"{at}: {node} is out of bounds; expected {-most:,} to {most:,}")
    return node


def _neutral(name: str, value: object) -> object:
    """Replace the value of an argument that may cause a download: an argument that `NEUTRAL` names and that is set."""
    if name not in NEUTRAL or value is None:
        return value
    return False if isinstance(value, bool) else NEUTRAL[name]


def _check_names(parts: Settings) -> None:
    """Reject names that are not valid file names, because they become part of the paths of runs and stores."""
    names = [(f"{at}.name", node["name"]) for at, node in _walk(parts.get("data"), "data") if _is_named(node)]
    for key, name in names + [("name", part) for part in str(parts.get("name") or "run").split("/")]:
        if name is not None and (not _FILE_NAME.fullmatch(str(name)) or str(name) in (".", "..")):
            raise ForeignConfigError(
                f"{key}: '{printable(str(name)[:80])}' is not a valid name; expected at most 200 characters without "
                "slashes, backslashes and control characters"
            )


def _mapping(node: Settings, key: str) -> Settings:
    found = node.get(key)
    return found if isinstance(found, dict) else {}


def _is_named(node: object) -> bool:
    return isinstance(node, dict) and "name" in node


def _check_samples(parts: Settings) -> None:
    """Reject sizes for which one sample of the network, or the crops of one video, would not fit into memory."""
    data: Settings = parts.get("data") or {}
    recipe = _mapping(data, "recipe")
    loader, sampling = _mapping(data, "loader"), _mapping(data, "sampling")
    sizes = (
        ("data", loader.get("image_size"), sampling.get("frames"), 4),
        ("data.recipe", recipe.get("crop_size"), recipe.get("frames"), 1),
    )
    for at, side, frames, each in sizes:
        side, frames = side or 0, frames or 1
        if isinstance(side, int) and isinstance(frames, int) and side * side * 3 * each * frames > SAMPLE:
            raise ForeignConfigError(f"{at}: {frames} frames of {side} px take more than {SAMPLE / 1e9:g} GB")


def _walk(node: object, at: str) -> Iterator[tuple[str, Any]]:
    yield at, node
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in below:
        yield from _walk(value, f"{at}.{key}")
