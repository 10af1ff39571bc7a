"""Build objects from a checked config: a tree of mappings, lists, numbers and text without interpolations."""

from functools import partial
from typing import Any

from unmask.config.allowed import locate


def build(node: Any) -> Any:
    """Build the object that `node` describes, including the objects nested in it.

    Args:
        node: a tree of dict, list, str, numbers, bool and None. `_target_` is the name of a class or function, and
            `_args_` are its positional arguments. `_partial_: true` binds the arguments without calling the target.

    Raises:
        PermissionError: a target is not on the allowlist.
    """
    if isinstance(node, list):
        return [build(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {key: build(value) for key, value in node.items()}
    target = locate(node["_target_"])
    arguments = [build(value) for value in node.get("_args_") or ()]
    named = {key: build(value) for key, value in node.items() if key not in ("_target_", "_args_", "_partial_")}
    return partial(target, *arguments, **named) if node.get("_partial_") else target(*arguments, **named)
