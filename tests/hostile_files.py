"""Feed hostile files to `prepare` and `predict`, and count what they did: `python tests/hostile_files.py --seed 0`.

The files come from a seed (hostile_media.py). A listener on this machine counts connections, and a folder beside the
files is compared to the byte before and after. `prepare` runs as a user runs it, over the whole folder in worker
processes; `predict` is called for each file, in processes with the same bounds.
"""

import argparse
import contextlib
import hashlib
import io
import multiprocessing
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from datamodules import DataOf
from hostile_media import Made, Place, film, make
from unmask.data.prepare import prepare
from unmask.datasets.folder import Folder
from unmask.media.pictures import WholePictures
from unmask.parallel.workers import TaskError, resident_memory, run

LIMIT, MEMORY = 30.0, 2.0  # s and GB for one file
# What nobody should read as a reason: the name of a Python exception, or that a decoder took its process along.
RAW = re.compile(
    r"\b[A-Z][a-z]\w*(Error|Exception|Interrupt)\b|^error: |NoneType|object has no|\[Errno|its process crashed"
)


@dataclass
class Report:
    """What became of the files."""

    made: Counter[str] = field(default_factory=Counter)  # by kind
    prepared: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # by reason, without numbers and names
    scored: int = 0
    refused: int = 0
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)  # though they are no media, or no regular files
    lost: list[str] = field(default_factory=list)  # files of which nothing was said
    printed: list[str] = field(default_factory=list)  # names and marks that reached the terminal raw
    elsewhere: list[str] = field(default_factory=list)  # files that were written or changed outside of the output
    requests: int = 0
    peak: float = 0.0  # GB of the largest worker
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """All that must not happen, one line each."""
        found = [
            f"{name}: {text}"
            for name in ("crashes", "hangs", "accepted", "lost", "printed", "elsewhere")
            for text in getattr(self, name)
        ]
        return found + ([f"requests: {self.requests}"] if self.requests else [])

    def __str__(self) -> str:
        rows = [
            ("files made", self.made.total()), ("prepared", self.prepared), ("rejected", self.rejected.total()),
            *((f"  {reason[:90]}", count) for reason, count in self.rejected.most_common()),
            ("predict: scored", self.scored), ("predict: refused", self.refused),
            ("crashes", len(self.crashes)), ("hangs past the limit", len(self.hangs)),
            ("accepted though no media", len(self.accepted)), ("lost without a word", len(self.lost)),
            ("control characters printed", len(self.printed)), ("files written elsewhere", len(self.elsewhere)),
            ("requests", self.requests), ("peak memory of a worker, GB", f"{self.peak:.2f}"),
            ("seconds", f"{self.seconds:.0f}"),
        ]  # fmt: skip
        return "\n".join([f"{name:<94}{value!s:>8}" for name, value in rows] + self.faults)


class Predict:
    """Call `predict` for one file, with a detector that says 0.5 of everything.

    What is drawn depends on the scores, not on the file, and takes a second: it is drawn of every eighth file.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, path: bytes) -> tuple[bool, str]:
        """Whether it was scored, and what was printed or said."""
        from unmask.inference import predict as verb

        draw, verb.draw = verb.draw, verb.draw if zlib.crc32(path) % 8 == 0 else lambda *_: b""
        os.chdir(self.place)
        out = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(out):
            warnings.simplefilter("ignore")
            try:
                found = verb.predict(Path(os.fsdecode(path)), _run())  # type: ignore[arg-type]
            except (ValueError, FileNotFoundError, PermissionError) as error:  # what `fail_clearly` prints
                return False, str(error)
            finally:
                verb.draw = draw
        if not found.models:
            return False, found.reasons[0].text
        return True, out.getvalue()


def _run() -> Any:
    import torch

    from unmask.data.dataset import Sampling
    from unmask.data.loader import Loader
    from unmask.runs.errors import RunError

    class Half(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0 * x.mean((1, 2, 3))

    def untested(_: str) -> pd.DataFrame:
        raise RunError("the run has not been evaluated on this split")

    parts = {
        "data.recipe": WholePictures(64, frames=4), "data.loader": Loader(32, 4), "data.sampling": Sampling(4),
    }  # fmt: skip
    return SimpleNamespace(
        score_thresholds={"frame": 0.0, "video": 0.0}, name="half", folder="outputs/half", checkpoint=Path(__file__),
        config={"data": {"name": "films", "sampling": {"frames": None}, "demo": False}}, network=Half,
        kind="detector", build=parts.__getitem__, predictions=untested, summary="Half, films, seed 0",
        require_weights=lambda: None, calibration=lambda name: None, remarks=[], measured=None,
    )  # fmt: skip


@contextlib.contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine and, as they come, what is sent to it."""
    heard: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = server.accept()
                caller.settimeout(1)
                with contextlib.suppress(OSError), caller:
                    heard.append(b"connected")
                    heard[-1] = caller.recv(1000)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], heard
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


@contextlib.contextmanager
def watched() -> Iterator[list[float]]:
    """The most memory that a process started here holds, GB."""
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max([peak[0], *(resident_memory(child.pid) for child in multiprocessing.active_children())])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join(5)


@contextlib.contextmanager
def alarmed(seconds: int) -> Iterator[None]:
    """End what hangs in this process, which no worker's bound does."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"nothing after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def snapshot(folder: Path, left_out: Path) -> dict[bytes, str]:
    """Every file below a folder: what kind it is, its size and when it was changed; of small ones the bytes."""
    found = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        folders[:] = [name for name in folders if os.path.join(place, name) != os.fsencode(left_out)]
        for path in (os.path.join(place, name) for name in (*folders, *files)):
            about = os.lstat(path)
            said = f"{about.st_mode:o} {about.st_size} {about.st_mtime_ns}"
            if os.path.isfile(path) and not os.path.islink(path) and about.st_size < 2**24:
                with open(path, "rb") as file:
                    said += hashlib.sha256(file.read()).hexdigest()
            found[path] = said
    return found


def feed(base: Path, seed: int, count: int) -> Report:
    """Make the files below a new folder, feed them, and report."""
    began, report = time.monotonic(), Report()
    canary, out = base / "canary" / "canary.mp4", base / "out"
    for folder in (canary.parent, out / "predicted"):
        folder.mkdir(parents=True)
    canary.write_bytes(film(np.random.default_rng(7), "mp4", "libx264"))
    with listening() as (port, heard), watched() as peak:
        made = make(Place(os.fsencode(base / "data"), canary, port), seed, count)
        report.made.update(one.kind for one in made)
        before = snapshot(base, out)
        _prepare(base, made, report)
        _predict(base, made, report)
        after = snapshot(base, out)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    report.elsewhere += [repr(path) for path in sorted(changed)]
    report.requests, report.peak, report.seconds = len(heard), peak[0], time.monotonic() - began
    return report


def _prepare(base: Path, made: list[Made], report: Report) -> None:
    recipe = WholePictures(64, frames=4)
    with warnings.catch_warnings(), alarmed(60 + int(3 * len(made))):
        warnings.simplefilter("ignore")
        data = DataOf(Folder("hostile", base / "data"), base / "out", recipe, protocol="predefined")
        try:
            items = data.manifest()
            store = prepare(
                items, data.root, data.folder, recipe, num_workers=2, timeout=LIMIT, max_rejected=1.0, memory=MEMORY
            )
        except Exception as error:  # the whole preparation is lost
            report.crashes.append(f"prepare: {type(error).__name__}: {error}")
            return
    rejected = pd.read_csv(data.folder / "rejected.csv")
    report.prepared, where = len(store.items) - len(rejected), _kinds(base, made)
    report.rejected.update(_without_names(reason) for reason in rejected["rejected"])
    for name, reason in zip(rejected["path"], rejected["rejected"], strict=True):
        if RAW.search(reason):
            report.crashes.append(f"prepare {name}: {reason}")
        if reason.startswith("hangs"):
            report.hangs.append(f"prepare {name}: {reason}")
    used = store.items[store.items["rejected"].isna()]
    report.accepted += [f"prepare {path!r}" for path in used["path"] if where[path].refuse]
    listed = set(store.items["path"])
    hidden = {name for name in where if name.rpartition("/")[2].startswith(".")}
    report.lost += [repr(name) for name in where.keys() - listed - hidden if not _not_text(name)]
    report.printed += [repr(text) for text in (data.folder / "rejected.csv").read_text().splitlines() if _raw(text)]


def _predict(base: Path, made: list[Made], report: Report) -> None:
    kinds = {one.path: one for one in made}
    processes = 1 if len(made) < 100 else 2  # each of which imports PyTorch first
    for path, result in run(Predict(base / "out" / "predicted"), [*kinds], processes, LIMIT, MEMORY):
        scored, said = (False, str(result)) if isinstance(result, TaskError) else result
        report.scored += scored
        report.refused += not scored
        if said.startswith("hangs"):
            report.hangs.append(f"predict {path!r}: {said}")
        if not scored and (RAW.search(said) or "\n" in said):
            report.crashes.append(f"predict {path!r}: {said}")
        if scored and kinds[path].refuse:
            report.accepted.append(f"predict {path!r}")
        report.printed += [f"predict {path!r}: {line!r}" for line in said.split("\n") if _raw(line)]


def _kinds(base: Path, made: list[Made]) -> dict[str, Made]:
    return {Path(os.fsdecode(one.path)).relative_to(base / "data").as_posix(): one for one in made}


def _not_text(name: str) -> bool:
    return any("\ud800" <= one <= "\udfff" for one in name)


def _raw(line: str) -> bool:
    return any(not one.isprintable() for one in line)


def _without_names(reason: str) -> str:
    return re.sub(r"\d[\d,.x]*", "N", re.sub(r"\(([^()]*\.\w{2,4})\)|'[^']*'", "...", reason))


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--keep", action="store_true", help="leave the files where they are")
    chosen = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        report = feed(base, chosen.seed, chosen.count)
    finally:
        if chosen.keep:
            print(f"the files are in {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
    print(f"seed {chosen.seed}\n{report}")
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
