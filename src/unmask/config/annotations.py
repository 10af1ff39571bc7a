"""Check that the values of a config match the type annotations of the constructors."""

import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, is_typeddict

from unmask.config import Settings
from unmask.config.allowed import locate

WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path",
    types.NoneType: "null", list: "a list", dict: "a mapping",
}  # fmt: skip
LISTS = (list, tuple, set, frozenset, Sequence, Collection)
MAPPINGS = (dict, Mapping)


def misfits(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted path, `value: expected ...`) for each value that does not match the constructor's annotation.

    Only these annotations are checked: numbers, booleans, text, paths, literals, lists, mappings and their unions, and
    classes, for which a mapping needs a `_target_`.

    Args:
        node: a checked config as plain mappings, lists, numbers and text.
        path: dotted path of `node` in the config.
    """
    if isinstance(node, dict) and "_target_" in node:
        yield from _of_target(node, path)
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in below:
        yield from misfits(value, f"{path}.{key}" if path else str(key))


def _of_target(node: Settings, path: str) -> Iterator[tuple[str, str]]:
    try:
        parameters = inspect.signature(locate(node["_target_"]), eval_str=True).parameters
    except (NameError, TypeError, ValueError):  # an annotation that is imported only for type checking, or no signature
        return
    for name, value in node.items():
        parameter = parameters.get(name)
        if parameter is None or parameter.annotation is parameter.empty or value == parameter.default:
            continue
        if not fits(value, parameter.annotation):
            shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            fix = f"; {path}.{name}=null leaves it out" if isinstance(value, dict) and parameter.default is None else ""
            yield f"{path}.{name}", f"{shown}: expected {expected(parameter.annotation)}{fix}"


def fits(value: object, annotation: object) -> bool:
    """Return whether `value` matches `annotation`; True for annotations that are not checked (see `misfits`)."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inside)
    if origin is Literal:
        return value in inside
    if annotation in (None, types.NoneType):
        return value is None
    if isinstance(value, dict) and "_target_" in value:
        return annotation not in WORDS  # the mapping builds an object of some class
    kind = origin or annotation
    if kind in LISTS:
        entries = inside[:1] if kind is not tuple or Ellipsis in inside else ()
        return isinstance(value, list) and all(fits(entry, one) for entry in value for one in entries)
    if kind in MAPPINGS or is_typeddict(annotation):
        return isinstance(value, dict)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is Path:
        return isinstance(value, str)
    if annotation in (int, str, bool):
        return type(value) is annotation
    # A mapping without a target builds no object: it is what `~GROUP` leaves of an option that a preset changed.
    built = kind is Callable or (isinstance(kind, type) and kind is not object)
    return not isinstance(value, dict) or annotation is Any or not built


def expected(annotation: object) -> str:
    """Describe an annotation in words, such as `a whole number or null`."""
    parts = list(_parts(annotation))
    choices = dict.fromkeys(str(value) for one in parts if get_origin(one) is Literal for value in get_args(one))
    words = [f"one of {', '.join(choices)}"] if choices else []
    return " or ".join(dict.fromkeys([*words, *(_word(one) for one in parts if get_origin(one) is not Literal)]))


def _parts(annotation: object) -> Iterator[object]:
    """Yield the members of a union, or the annotation itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _parts(one)
    else:
        yield annotation


def _word(annotation: object) -> str:
    kind = get_origin(annotation) or annotation
    kind = list if kind in LISTS else dict if kind in MAPPINGS else types.NoneType if kind is None else kind
    return (WORDS.get(kind) or kind.__name__) if isinstance(kind, type) else str(kind)
