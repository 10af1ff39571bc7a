"""A progress bar for examinations, shown only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from unmask.console import console
from unmask.inference.examination import Progress
from unmask.inference.examine import nothing

WIDTH = 20  # of the bar, in characters


@contextmanager
def shown(began: float | None = None) -> Iterator[Progress]:
    """Yield a function that updates a progress bar of one line; without a terminal, the function does nothing.

    Args:
        began: time at which the work began, by `time.monotonic`; None for now.
    """
    if not (console.is_terminal and sys.stdout.isatty()):
        yield nothing
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    # The text comes last, so that the bar does not move when the text changes; text that is too long is cut off.
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    with Bar(BarColumn(WIDTH), TimeElapsedColumn(), text, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        if began is not None:
            bar.tasks[0].start_time = began
        yield lambda fraction, text: bar.update(task, completed=fraction, description=text)
