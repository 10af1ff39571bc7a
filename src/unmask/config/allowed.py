"""The classes and functions that a config may build, and the arguments by which they reach files or the network.

A `_target_` is looked up here before anything is imported, and what it names must be defined where it says: an alias of
something else is refused. A class in one of the listed modules may be built; a function only if it is listed itself.
"""

import inspect
from importlib import import_module
from typing import Any

# Modules, with all below them, whose public classes a config may build.
OURS = (
    "unmask.data.augment",
    "unmask.data.blend",
    "unmask.data.dataset.Sampling",
    "unmask.data.loader",
    "unmask.data.split",
    "unmask.datasets",
    "unmask.generation.inpainters",
    "unmask.media.pictures",
    "unmask.media.recipe",
    "unmask.modules",
    "unmask.networks",
    "unmask.provenance.marking",
    "unmask.training",
)
THEIRS = ("diffusers.schedulers", "torch.nn.modules", "torch.optim", "torchvision.transforms.v2")
TRAINING = (  # parts of a training; a config that came with a run is never asked for these
    "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers",
    "pytorch_lightning.profilers",
    "pytorch_lightning.strategies",
    "pytorch_lightning.trainer.trainer",
)
FUNCTIONS = (  # a module stands for all its functions, so that a new schedule needs no entry
    "unmask.networks.video_transformers.timesformer",
    "unmask.networks.video_transformers.videomae",
    "unmask.networks.video_transformers.vivit",
    "unmask.training.schedules",
)
ALLOWED = (*OURS, *THEIRS, *TRAINING)

#: Arguments that name pretrained weights or permit a download, with the value that reads and fetches nothing. A run has
#: the weights in its checkpoint, so a config that came with a run gets these values.
NEUTRAL: dict[str, Any] = {
    "weights": None,
    "resnet_weights": None,
    "densenet_weights": None,
    "pretrained": None,
    "download": False,
}
#: Arguments that name a folder or file that is only read: the data that a run was trained on.
READ_ONLY = frozenset({"root", "prepared", "run"})
#: Arguments that name where something is written; a config that came with a run may not give them.
WRITING = frozenset({"dirpath", "folder", "save_dir", "default_root_dir", "cache_dir", "out"})
# In such a config neither these classes, which write and delete during a training, nor those of `TRAINING`.
WRITERS = (
    "unmask.training.callbacks",
    "unmask.training.metrics_csv",
    "unmask.training.profile",
    "unmask.training.samples",
)


def locate(name: Any) -> Any:
    """Import the class or function that a `_target_` names.

    Raises:
        PermissionError: a config may not build it; nothing outside the list is even imported.
        ImportError, AttributeError: it does not exist.
    """
    refusal = PermissionError(f"'{name}' is not on the list of what a config may build (unmask.config.allowed)")
    module, _, attribute = str(name).rpartition(".")
    if attribute.startswith("_") or not any(is_below(module, root) or is_below(root, module) for root in _roots()):
        raise refusal
    found = getattr(import_module(module), attribute)
    if not (inspect.isclass(found) or inspect.isfunction(found)) or not is_allowed(found):
        raise refusal
    return found


def is_allowed(found: Any) -> bool:
    """Whether a config may build this class or call this function."""
    home = f"{found.__module__}.{found.__qualname__}"
    if found.__qualname__.startswith("_") or "." in found.__qualname__:
        return False
    if inspect.isclass(found) and issubclass(found, BaseException):
        return False
    return any(is_below(home, root) for root in (ALLOWED if inspect.isclass(found) else FUNCTIONS))


def is_below(name: str, root: str) -> bool:
    """Whether a dotted name is `root` or lies in it."""
    return name == root or name.startswith(root + ".")


def _roots() -> tuple[str, ...]:
    return (*ALLOWED, *(name.rpartition(".")[0] for name in FUNCTIONS))
