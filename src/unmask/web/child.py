"""The process that reads files from strangers: it confines itself, loads detectors, and examines file after file.

Both directions of the pipe carry JSON, never pickles. So a file that takes over this process cannot make the server
run code. The parent sends `{"path": ..., "name": ...}` to examine a file, or `{}` to cancel the examination. The child
sends `{"kind": "ready" | "broken" | "progress" | "done" | "refused", ...}`. After `done`, it sends the examination
(JSON) and the report (HTML), each as one message.
"""

import json
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from pydantic import ConfigDict, TypeAdapter

from unmask.inference.examination import Examination, Progress
from unmask.parallel.processes import follow
from unmask.web import sandbox
from unmask.web.answers import ModelCard
from unmask.web.limits import Limits

#: Examinations as JSON, with pictures in Base64. A list, because pydantic takes no config for a dataclass itself.
EXAMINATIONS: TypeAdapter[list[Examination]] = TypeAdapter(
    list[Examination], config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
)


class Examines(Protocol):
    """Protocol of an examiner, such as `unmask.inference.examine.Examiner`."""

    def examine(self, path: Path, progress: Progress = ...) -> Examination:
        """Return the result for one file. A file that cannot be examined also gets an answer; nothing is raised."""


@dataclass(frozen=True)
class Loaded:
    """An examiner that is ready to use.

    Attributes:
        examiner: examines files.
        report: returns the report of an examination as one HTML page. The child process renders it, because the
            packages that are needed for it would increase the memory of the server process.
        models: descriptions of the detectors.
    """

    examiner: Examines
    report: Callable[[Examination], str]
    models: Sequence[ModelCard]


@dataclass(frozen=True)
class Setup:
    """How a child process is set up; sent to the process when it starts.

    Attributes:
        load: function that loads the detectors; must be picklable.
        readable: files and folders that the process reads, such as the run folders and the folder of the uploads.
        limits: the limits.
        imports: modules that write temporary files or start programs when they are imported. They are imported before
            the process is confined, so they must not start threads: such threads would not be confined.
    """

    load: Callable[[], Loaded]
    readable: tuple[Path, ...]
    limits: Limits
    imports: tuple[str, ...] = ()


class Cancelled(BaseException):
    """The examination was cancelled. Not an `Exception`, so that the error handling of a decoder does not catch it."""


class Refused(ValueError):
    """A file exceeds a limit; the message says which one."""


def serve(pipe: Connection, setup: Setup) -> None:
    """Examine files until the parent closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the server ends its processes
    os.environ["OMP_NUM_THREADS"] = "1"  # parallelism comes from the processes
    # Decoders print messages about damaged files; they would fill the server's log.
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    try:
        for module in setup.imports:
            import_module(module)
        tempfile.tempdir = os.curdir  # some packages ask for this folder, although nothing can be written from now on
        in_force = sandbox.confine([*sandbox.system_paths(), *setup.readable])
        from unmask.media import probe  # noqa: F401  # slow import, needed by `check`; done before the first file

        loaded = setup.load()
        in_force += sandbox.bound(setup.limits.memory)
    except Exception as error:
        text = str(error) if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {error}"
        _send(pipe, kind="broken", message=text)
        return
    follow(os.getppid())
    _send(pipe, kind="ready", models=[card.model_dump() for card in loaded.models], sandbox=in_force)
    while True:
        try:
            task = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        if task:  # an empty task cancels a job that has already ended
            _examine(pipe, task, loaded, setup.limits)


def _examine(pipe: Connection, task: dict[str, str], loaded: Loaded, limits: Limits) -> None:
    def progress(fraction: float, doing: str) -> None:
        if pipe.poll():
            raise Cancelled
        _send(pipe, kind="progress", fraction=min(max(float(fraction), 0.0), 1.0), doing=str(doing))

    try:
        check(Path(task["path"]), limits)
        found = loaded.examiner.examine(Path(task["path"]), progress)
        found = replace(found, facts=replace(found.facts, name=task["name"]))
        page = loaded.report(found).encode()
        _send(pipe, kind="done")
        pipe.send_bytes(EXAMINATIONS.dump_json([found]))
        pipe.send_bytes(page)
    except Cancelled:
        _send(pipe, kind="refused", code="cancelled", message="The examination was cancelled.")
    except Refused as refusal:
        _send(pipe, kind="refused", code="too_large", message=str(refusal))
    except MemoryError:
        message = f"The file needs more than {limits.memory:g} GB of memory. Try a smaller or shorter version of it."
        _send(pipe, kind="refused", code="memory", message=message)
    except Exception as error:  # a bug in unmask: for a bad file, the examiner returns an answer
        message = f"The examination failed because of an error in unmask ({type(error).__name__})."
        _send(pipe, kind="refused", code="failed", message=message)


def check(path: Path, limits: Limits) -> None:
    """Read the header of a picture or the packets of a video, and refuse a file that exceeds a limit.

    A file that cannot be read passes this check; its examination then gives the reason.

    Raises:
        Refused: the file has too many pixels or frames, or is too long.
    """
    from unmask.media.kinds import MediaError  # imports NumPy
    from unmask.media.probe import file_statistics

    try:
        about = file_statistics(path)
    except MediaError:
        return
    width, height = float(about["width"]), float(about["height"])
    if width * height > limits.pixels * 1e6:
        raise Refused(
            f"The picture has {width:.0f} x {height:.0f} pixels, {width * height / 1e6:.0f} million. "
            f"Expected at most {limits.pixels:g} million; scale it down."
        )
    count, rate = float(about.get("num_frames", 1)), float(about.get("fps", 0))
    if count > limits.frames:
        raise Refused(f"The video has {count:,.0f} frames. Expected at most {limits.frames:,}; cut out a part of it.")
    if rate > 0 and count / rate > limits.duration:
        raise Refused(
            f"The video lasts {count / rate:.0f} seconds. Expected at most {limits.duration:g}; cut out a part of it."
        )


def _send(pipe: Connection, **message: object) -> None:
    pipe.send_bytes(json.dumps(message).encode())
