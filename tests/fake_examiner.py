"""An examiner whose answer depends on the file's first bytes: what the server does is tested without a detector.

Files are pictures or videos by their first bytes, with an order behind: `SLOW`, `CRASH` and so on.
"""

import ctypes
import io
import os
import time
from pathlib import Path

from PIL import Image

from unmask.inference.examination import (
    Answer,
    Examination,
    Facts,
    Model,
    Moment,
    Person,
    Progress,
    Reason,
    Trial,
)
from unmask.web.answers import ModelCard
from unmask.web.child import Loaded


def jpeg(shade: int = 100, order: bytes = b"", size: tuple[int, int] = (64, 48)) -> bytes:
    """A JPEG, with an order behind its end."""
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 90, 80)).save(file, "JPEG")
    return file.getvalue() + order


class FakeExaminer:
    """Gives the same evidence for each file."""

    def examine(self, path: Path, progress: Progress = lambda fraction, text: None) -> Examination:
        """Do what the file orders."""
        content = path.read_bytes()
        progress(0.0, "reading the file")
        if b"SLOW" in content:
            for step in range(30):
                progress(step / 30, "searching for faces")
                time.sleep(0.1)
        if b"HANG" in content:
            time.sleep(1000)
        if b"CRASH" in content:
            ctypes.string_at(0)
        if b"LEAVE" in content:
            os._exit(3)
        if b"MEMORY" in content:
            held = [bytearray(b"x" * 10**8) for _ in range(100)]
            time.sleep(len(held))
        if b"RAISE" in content:
            raise RuntimeError("secret text")
        if b"WRITE" in content:
            (path.parent / "written").write_bytes(b"x")
        facts = Facts(path.name, "0" * 64, len(content), "picture", 64, 48, None, 1, 1, {"codec": "jpeg"})
        if b"NOFACE" in content:
            return Examination(Answer.CANNOT_ANALYSE, (Reason("no_face", "No face was found."),), facts)
        moments = tuple(
            Moment(at / 2, at, 0.2 + 0.05 * at, jpeg(10 * at), jpeg(200) if at == 3 else b"") for at in range(12)
        )
        people = tuple(
            Person(number, Answer.SIGNS, 0.7, 0.65, (10, 10, 40, 40), 30.0, moments, (Reason("high", "High."),))
            for number in (1, 2)
        )
        model = Model("/secret/runs/meso4", "meso4, demo", "0" * 64, 0.75, 0.65, "platt", 0.5, True)
        trials = (Trial("saved again as JPEG, quality 75", 0.7, True), Trial("half the size", float("nan"), None))
        progress(1.0, "done")
        return Examination(
            Answer.SIGNS, (Reason("high", "The score is high."),), facts, (model,), people, trials, (), ("A caveat.",)
        )


def load() -> Loaded:
    """A fake, as a child process loads it."""
    card = ModelCard(
        name="fake", summary="Fake, no data", kind="detector", weights="0" * 64, threshold=0.5, faces=True, demo=True,
        remarks=[],
    )  # fmt: skip
    return Loaded(FakeExaminer(), lambda found: f"<!doctype html><title>{found.facts.name}</title>", [card])


def broken() -> Loaded:
    """Fail to load."""
    raise ValueError("run=nowhere: not a run folder")
