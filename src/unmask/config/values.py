"""Reject values that no training can use, before any data is read."""

import math
from collections.abc import Iterator
from types import UnionType
from typing import Any

from unmask.config import Settings
from unmask.config.build import build

# Integer settings with their smallest and largest allowed values.
WHOLE = {
    "seed": (0, 2**32 - 1),
    "image_size": (1, math.inf),
    "frames": (1, math.inf),
    "explain": (0, math.inf),
    "data.batch_size": (1, math.inf),
    "data.loader.num_workers": (0, math.inf),
    "data.sampling.frames_per_video": (1, math.inf),
    "data.sampling.stride": (1, math.inf),
    "data.split.seed": (0, 2**32 - 1),
}
SHARES = ("data.split.val_fraction", "data.split.test_fraction", "data.split.train_fraction")


def out_of_range(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (key, `value: expected ...`) for each number that is out of range."""
    for key, (least, most) in WHOLE.items():
        value = _select(settings, key)
        if key == "explain" and "module" not in settings:  # of `predict` and `serve`, where it is true or false
            continue
        if value is not None and not (_number(value, int) and least <= value <= most):
            bounds = f"of {least} or more" if most == math.inf else f"from {least} to {most}"
            yield key, f"{value}: expected a whole number {bounds}"
    for key in SHARES:
        value = _select(settings, key)
        if value is not None and not (_number(value, int | float) and 0 <= value <= 1):
            yield key, f"{value}: expected a fraction from 0 to 1"


def check_optimizers(module: Settings) -> None:
    """Raise an error if an optimizer or a schedule does not accept its settings. Call this before data is read.

    Args:
        module: the config of the module. Its optimizers and schedule are built for one dummy parameter.

    Raises:
        ValueError: an optimizer or the schedule could not be built; the message contains the settings.
    """
    import torch  # slow to import, and not needed to compose a config

    for key, node in ((str(key), node) for key, node in module.items()):
        if isinstance(node, dict) and key.startswith("optimizer"):
            _try(f"module.{key}", node, [torch.nn.Parameter(torch.zeros(1))])
    if isinstance(node := module.get("scheduler"), dict):
        _try("module.scheduler", node, torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), 1000)


def _try(key: str, node: Settings, *arguments: Any) -> None:
    try:
        build(node)(*arguments)
    except (ValueError, TypeError) as error:
        given = {str(name): value for name, value in node.items()}
        settings = " ".join(f"{key}.{name}={value}" for name, value in given.items() if not name.startswith("_"))
        raise ValueError(f"{settings}: {error}") from error


def _select(settings: Settings, key: str) -> Any:
    node: Any = settings
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _number(value: object, kinds: type | tuple[type, ...] | UnionType) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
