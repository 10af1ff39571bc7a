"""Terminal output: `say` prints text, `show` prints tables, and `quiet` silences unhelpful messages of libraries."""

import logging
import warnings

from rich.console import Console, RenderableType

from unmask.ranks import is_first

console = Console(highlight=False)
log = logging.getLogger("unmask")  # conf/train.yaml sends it only to a file in the run folder


def say(text: str, style: str | None = None) -> None:
    """Print text verbatim, only in the first process. During a training, the text is also written to the run's log."""
    if is_first():
        console.print(text, style=style, markup=False, soft_wrap=True)
        log.info(text)


def show(table: RenderableType) -> None:
    """Print a Rich renderable, only in the first process.

    Verbs call this instead of using `console`, so that launchers can pickle the verbs.
    """
    if is_first():
        console.print(table)


def quiet() -> None:
    """Silence library messages that users cannot act on; errors and the warnings of unmask itself are still shown.

    Of several processes, only the first shows warnings.
    """
    names = ["pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning_fabric"]
    for name in (*names, "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    noise = ["does not have many workers", "directory .* exists and is not empty", "LeafSpec", "treespec"]
    noise += [r"torch\.distributed\.nn\.functional\.all_gather is deprecated"]  # Lightning calls it
    noise += [r"The number of training batches \(\d+\) is smaller"]  # does not apply: each epoch has a line in the log
    for text in (*noise, r"Found \d+ module\(s\) in eval mode"):  # frozen modules stay in eval mode by design
        warnings.filterwarnings("ignore", f".*{text}")
    if not is_first():
        warnings.simplefilter("ignore")
