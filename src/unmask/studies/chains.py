"""Run chains of verbs (commands of unmask): a chain's verbs in sequence, several chains in parallel."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from unmask.console import console
from unmask.parallel.processes import started

Line = Callable[[], list[str]]  # called only when the verb starts, because run folders depend on prepared data


@dataclass
class Chain:
    """Verbs that run in sequence.

    Args:
        name: label of the progress bar.
        lines: functions that return the command line of each verb.
        log: file for the output of the verbs.
        progress: function from the index of the running verb to its completed share and a text about its state.
    """

    name: str
    lines: Sequence[Line]
    log: Path
    progress: Callable[[int], tuple[float, str]]


def run_chains(chains: Sequence[Chain]) -> None:
    """Run chains, at most one per core at a time.

    Raises:
        SystemExit: a verb failed; the message names its log. All other chains are finished first.
    """
    waiting, failed = list(chains), list[Chain]()
    running = list[_Running]()
    name, state = TextColumn("{task.description:<24}"), TextColumn("{task.fields[state]}")
    with Progress(name, BarColumn(), state, TimeElapsedColumn(), console=console) as bar, ExitStack() as jobs:
        tasks = {chain.name: bar.add_task(chain.name, total=1.0, state="waiting", start=False) for chain in chains}
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                running.append(_Running(waiting.pop(0), jobs))
                bar.start_task(tasks[running[-1].chain.name])
            for one in list(running):
                alive = one.advance()
                bar.update(tasks[one.chain.name], completed=one.share, state=one.state)
                if not alive:
                    failed += [one.chain] if one.process.returncode else []
                    bar.stop_task(tasks[one.chain.name])
                    running.remove(one)
            time.sleep(0.5)
    if failed:
        names, logs = " and ".join(one.name for one in failed), ", ".join(str(one.log) for one in failed)
        raise SystemExit(f"{names} failed, see {logs}; rerun the command to resume")


class _Running:
    """A chain and the process of its current verb."""

    def __init__(self, chain: Chain, jobs: ExitStack) -> None:
        chain.log.parent.mkdir(parents=True, exist_ok=True)
        chain.log.unlink(missing_ok=True)
        self.chain, self.jobs, self.number = chain, jobs, 0
        self.process = self._start()
        self.share, self.state = 0.0, "starting"

    def _start(self) -> subprocess.Popen[bytes]:
        return self.jobs.enter_context(_logged(self.chain.lines[self.number](), self.chain.log))

    def advance(self) -> bool:
        """Start the next verb if the current one succeeded; return whether a verb is running."""
        share, self.state = self.chain.progress(self.number)
        self.share = (self.number + share) / len(self.chain.lines)
        if self.process.poll() is None:
            return True
        if self.process.returncode or self.number + 1 == len(self.chain.lines):
            return False
        self.number += 1
        self.process = self._start()
        return True


@contextmanager
def _logged(line: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a verb whose output is appended to a file; the verb ends when this process ends."""
    # Chains share the cores: with one thread per core in each process, their threads would compete.
    alone = {"OMP_NUM_THREADS": "1"}
    with log.open("ab") as file, started(line, alone, stdout=file, stderr=subprocess.STDOUT) as process:
        yield process
