"""unmask: make and detect deepfakes with PyTorch Lightning and Hydra.

The functions below import PyTorch or Hydra only when they are called, so that `import unmask` is fast.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from unmask.config import Settings
    from unmask.inference.score import Scorer

__all__ = ["compose", "load"]


def load(run: "str | Path") -> "Scorer":
    """Open the run of a detector; `load(run).score(...)` scores a file or an array.

    Args:
        run: the run folder, such as `outputs/first/0123456789`. Only tensors are read from its checkpoint.

    Raises:
        RunError: the folder is not the finished run of a detector with weights.
    """
    from pathlib import Path

    from unmask.inference.score import Scorer
    from unmask.runs.run import Run

    return Scorer(Run(Path(run)))


def compose(verb: str, overrides: "Sequence[str]" = ()) -> "Settings":
    """Compose the config of a verb, check it and return it as plain mappings, lists and values; nothing is run.

    Args:
        verb: a verb with a config, such as `train`.
        overrides: the arguments as typed after `unmask VERB`, such as `experiment=celebdf/meso4`.

    Raises:
        ValueError: an argument or a value is invalid; the message has one line per problem.
    """
    from unmask.application import composed

    return composed(verb, overrides)
