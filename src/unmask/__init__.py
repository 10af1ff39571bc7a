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
    """Open the run folder or the pack of a trained detector; `load(run).score(...)` then scores a file or an array.

    Args:
        run: the run folder, such as `outputs/first/0123456789`, an ONNX file that `unmask export` wrote, a pack, or the
            address of a pack on the Hugging Face Hub, `hf://owner/name@revision`. Only tensors are read from a
            checkpoint.

    Raises:
        RunError: the folder does not hold the finished run of a detector, the run has no weights, or the pack is
            refused.
    """
    from unmask.inference.score import Scorer
    from unmask.runs.opening import open_run

    return Scorer(open_run(run))


def compose(verb: str, overrides: "Sequence[str]" = ()) -> "Settings":
    """Compose and check the config of a verb; return it as plain mappings, lists and values. The verb is not run.

    Args:
        verb: a subcommand of `unmask` that has a config, such as `train`.
        overrides: the arguments as typed after `unmask VERB`, such as `experiment=celebdf/meso4`.

    Raises:
        ValueError: an argument or a value is invalid; the message has one line per problem.
    """
    from unmask.application import composed

    return composed(verb, overrides)
