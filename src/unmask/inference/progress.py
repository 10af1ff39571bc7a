"""A progress bar for examinations, shown only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len, set_cell_size

from unmask.console import console
from unmask.inference.examination import Progress
from unmask.inference.examine import nothing

WIDTH = 10  # of the bar, in characters
CLOCK = 9  # characters of the time, with a space on each side


@contextmanager
def shown(began: float | None = None, fraction: float = 0.0, text: str = "") -> Iterator[Progress]:
    """Yield a function that updates a progress bar of one line; without a terminal, the function does nothing.

    Args:
        began: time at which the work began, by `time.monotonic`; None for now.
        fraction: progress at the beginning, in [0, 1].
        text: description of the first step.
    """
    if not (console.is_terminal and sys.stdout.isatty()):
        yield nothing
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    # The text comes last, so that the bar does not move when the text changes.
    columns = BarColumn(WIDTH), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    bar = Bar(*columns, console=console, transient=True)
    task = bar.add_task(_fitting(text), total=1.0)
    bar.update(task, completed=fraction)
    if began is not None:
        bar.tasks[0].start_time = began
    with bar:
        yield lambda fraction, text: bar.update(task, completed=fraction, description=_fitting(text))


def _fitting(text: str) -> str:
    """Cut off text that does not fit into the line."""
    room = console.width - WIDTH - CLOCK
    return text if cell_len(text) <= room else set_cell_size(text, room - 1).rstrip() + "…"
