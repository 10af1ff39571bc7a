"""The place of this process among the processes of one training, on one machine or several."""

import os

# Variables that number processes or machines, from 0: torchrun sets RANK, SLURM sets SLURM_PROCID, Lightning sets
# LOCAL_RANK and NODE_RANK. In the first process of a training, all of them are 0 or unset.
VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")


def is_first() -> bool:
    """Return whether this process is the one that prints, and that writes and clears run folders.

    Raises:
        ValueError: one of `VARIABLES` is not a number.
    """
    return not any(_number(name) for name in VARIABLES)


def is_started_by_lightning() -> bool:
    """Return whether the first process of this machine started this one, for another device."""
    return _number("LOCAL_RANK") > 0 and not os.environ.get("RANK")


def _number(name: str) -> int:
    text = os.environ.get(name) or "0"
    if not text.isdigit():
        raise ValueError(f"environment variable {name}={text}: expected the number of this process, from 0")
    return int(text)
