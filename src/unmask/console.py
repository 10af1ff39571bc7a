"""Terminal output: `say` prints text, `show` prints tables, and `quiet` silences unhelpful messages of libraries."""

import io
import logging
import os
import sys
import warnings
from typing import NoReturn

from rich.console import Console, RenderableType

from unmask.ranks import is_first

WHOLE = 100_000  # characters per line: more than any table needs
READER_GONE = 141  # exit code of a shell for a program that was ended by SIGPIPE: 128 + 13


class Output(Console):
    """A console that ends the program quietly if nobody reads its output any longer, as in `unmask ... | head`."""

    def on_broken_pipe(self) -> None:
        """Exit; Rich calls this method if standard output is a pipe that was closed by its reader."""
        self.quiet = True
        leave()


console = Output(highlight=False)
log = logging.getLogger("unmask")  # conf/train.yaml sends it only to a file in the run folder


def say(text: str, style: str | None = None) -> None:
    """Print text verbatim, only in the first process. During a training, the text is also written to the run's log."""
    if is_first():
        console.print(text, style=style, markup=False, soft_wrap=True)
        log.info(text)


def write_line(text: str) -> None:
    """Write a line for another program to standard output; end the program quietly if its reader has gone."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        leave()


def leave() -> NoReturn:
    """End the program, without a message, because the reader of standard output has gone."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # what is still in the buffer of standard output is written there at exit
    raise SystemExit(READER_GONE)


def escape_unknown() -> None:
    """Escape characters that the encoding of the terminal or the pipe does not contain, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(table: RenderableType, whole: bool = False) -> None:
    """Print a Rich renderable, only in the first process.

    Verbs call this instead of using `console`, so that launchers can pickle the verbs.

    Args:
        table: the renderable.
        whole: whether lines may be longer than the terminal.
    """
    if is_first():
        (Output(highlight=False, width=WHOLE) if whole else console).print(table)


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
