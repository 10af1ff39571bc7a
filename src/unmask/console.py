"""The terminal: plain lines from the first process, and silence of what no user can act on."""

import logging
import os
import warnings

from rich.console import Console, RenderableType

console = Console(highlight=False)
log = logging.getLogger("unmask")  # conf/train.yaml writes it into the run's folder, and nowhere else


def say(text: str, style: str | None = None) -> None:
    """Print one line, as it stands, from the first process only; a training keeps it in its log too."""
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        console.print(text, style=style, markup=False, soft_wrap=True)
        log.info(text)


def show(table: RenderableType) -> None:
    """Print what Rich can draw. A verb that any launcher may start calls this: it holds no console to be pickled."""
    console.print(table)


def quiet() -> None:
    """Silence what libraries say that no user can act on; errors and our own warnings stay."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    noise = ["does not have many workers", "directory .* exists and is not empty", "LeafSpec", "treespec"]
    # Each epoch has a line of its own, and figures are of all devices.
    noise += [r"The number of training batches \(\d+\) is smaller", "It is recommended to use `self.log"]
    for text in (*noise, r"Found \d+ module\(s\) in eval mode"):  # frozen parts stay so by design
        warnings.filterwarnings("ignore", f".*{text}")
