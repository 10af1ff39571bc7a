"""A progress bar for an examination, shown only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from unmask.console import console
from unmask.inference.examination import Progress
from unmask.inference.examine import nothing


@contextmanager
def shown() -> Iterator[Progress]:
    """Yield a function that updates a progress bar; without a terminal, the function does nothing."""
    if not (console.is_terminal and sys.stdout.isatty()):
        yield nothing
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda fraction, text: bar.update(task, completed=fraction, description=text)
