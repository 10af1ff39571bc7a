"""Allowlist of the classes and functions that a config may name, and lists of arguments for paths and downloads.

A `_target_` is looked up here before anything is imported. It must name the module in which the class or function is
defined; aliases are rejected. Any public class in a listed module may be built. A function may be called only if
`FUNCTIONS` contains the function or its module.
"""

import inspect
from importlib import import_module
from typing import Any

# Modules, including their submodules, whose public classes a config may build.
OURS = (
    "unmask.data.augment",
    "unmask.data.blend",
    "unmask.data.cache.Cache",
    "unmask.data.captions",
    "unmask.data.dataset.Sampling",
    "unmask.data.handling",
    "unmask.data.loader",
    "unmask.data.sound_handling",
    "unmask.data.sounds.SoundSampling",
    "unmask.data.split",
    "unmask.datasets",
    "unmask.evaluation.suite.Suite",
    "unmask.generation.inpainters",
    "unmask.generation.pipelines.TextPipeline",
    "unmask.media.pictures",
    "unmask.media.recipe",
    "unmask.media.recordings",
    "unmask.modules",
    "unmask.networks",
    "unmask.perturb",
    "unmask.provenance.marking",
    "unmask.runs.codec.TrainedCodec",
    "unmask.runs.encoder.TrainedEncoder",
    "unmask.training",
    "unmask.web.limits.Limits",
)
THEIRS = ("diffusers.schedulers", "torch.nn.modules", "torch.optim", "torchvision.transforms.v2")
TRAINING = (  # used only for training; a config that came with a run may not build these classes
    "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers",
    "pytorch_lightning.profilers",
    "pytorch_lightning.strategies",
    "pytorch_lightning.trainer.trainer",
)
FUNCTIONS = (  # an entry for a module allows all of its functions
    "unmask.networks.video_transformers.timesformer",
    "unmask.networks.video_transformers.videomae",
    "unmask.networks.video_transformers.vivit",
    "unmask.runs.trained.trained",
    "unmask.training.schedules",
)
ALLOWED = (*OURS, *THEIRS, *TRAINING)

#: Arguments that name pretrained weights or a run whose weights are loaded, or that allow a download, each with a value
#: that reads and downloads nothing. In a config that came with a run, these values are used, because the weights are in
#: the run's checkpoint.
NEUTRAL: dict[str, Any] = {
    "weights": None,
    "resnet_weights": None,
    "densenet_weights": None,
    "pretrained": None,
    "download": False,
    "run": None,
}
#: Arguments with the path of a folder or file that is only read, such as the training data of a run.
READ_ONLY = frozenset({"root", "prepared"})
#: Arguments with an output path; a config that came with a run may not contain these arguments.
WRITING = frozenset({"dirpath", "folder", "save_dir", "default_root_dir", "cache_dir", "out"})
#: Classes with an argument in `WRITING` that write nothing for a config that came with a run: such a run reads crops
#: from its cache, but downloads nothing to it (`Run.cache`).
OFFLINE = frozenset({"unmask.data.cache.Cache"})
# Modules whose classes write or delete files in training. A config that came with a run may not build these classes.
WRITERS = (
    "unmask.training.callbacks",
    "unmask.training.metrics_csv",
    "unmask.training.profile",
    "unmask.training.samples",
)


def locate(name: Any) -> Any:
    """Import the class or function that a `_target_` names.

    Raises:
        PermissionError: the target is not allowed; modules outside the allowlist are not imported.
        ImportError, AttributeError: the target does not exist.
    """
    refusal = PermissionError(f"'{name}' is not an allowed target in a config (see unmask.config.allowed)")
    module, _, attribute = str(name).rpartition(".")
    if attribute.startswith("_") or not any(is_below(module, root) or is_below(root, module) for root in _roots()):
        raise refusal
    found = getattr(import_module(module), attribute)
    if not (inspect.isclass(found) or inspect.isfunction(found)) or not is_allowed(found):
        raise refusal
    return found


def is_allowed(found: Any) -> bool:
    """Return whether a config may build this class or call this function."""
    home = f"{found.__module__}.{found.__qualname__}"
    if found.__qualname__.startswith("_") or "." in found.__qualname__:
        return False
    if inspect.isclass(found) and issubclass(found, BaseException):
        return False
    return any(is_below(home, root) for root in (ALLOWED if inspect.isclass(found) else FUNCTIONS))


def is_below(name: str, root: str) -> bool:
    """Return whether a dotted name is equal to `root` or starts with `root` and a dot."""
    return name == root or name.startswith(root + ".")


def _roots() -> tuple[str, ...]:
    return (*ALLOWED, *(name.rpartition(".")[0] for name in FUNCTIONS))
