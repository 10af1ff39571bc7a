"""Name the files written for each examined file: a report, JSON and a drawing. An examined file is never replaced."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.files import printable
from unmask.inference.examination import Examination
from unmask.media.kinds import MEDIA

LONGEST = 255 - 17  # bytes: maximum length of a file name on most file systems, minus a temporary file's suffix
OTHER = (".html", ".json", ".csv", ".pdf", ".txt", ".svg")  # suffixes that a folder for the output may not have


@dataclass(frozen=True)
class Outputs:
    """The files that are written for one examined file.

    Attributes:
        report: an HTML page.
        json: the examination as JSON.
        picture: the drawing for a picture, a PNG.
        timeline: the drawing for a video, a PNG.
    """

    report: Path
    json: Path
    picture: Path
    timeline: Path

    def drawing(self, examination: Examination) -> Path:
        """Return the path of the drawing: `picture` for a file with a single frame, else `timeline`."""
        return self.picture if examination.facts.frames == 1 else self.timeline

    def written(self, examination: Examination) -> list[tuple[str, Path]]:
        """Return name and path of each output; a file without scored pictures has no drawing."""
        found = [("report", self.report), ("JSON", self.json)]
        if not examination.faces:  # not analysed, or only sound
            return found
        name = "score" if examination.facts.frames == 1 else "timeline"
        return [(name, self.drawing(examination)), *found]


def outputs_for(paths: Sequence[Path], out: Path | None) -> list[Outputs]:
    """Return the files to be written for each of the files that are examined.

    Each output name begins with the name of the examined file without its suffix. If several examined files have the
    same name, the hash of the path is inserted.

    Args:
        paths: the files to be examined.
        out: the folder for the outputs; None is the working directory. For a single file, it may also be the path of
            the drawing, which ends in `.png`.

    Raises:
        ValueError: `out` is neither a folder nor ends in `.png`, it ends in `.png` but there are several files, or an
            output would replace an examined file.
    """
    png = out is not None and out.suffix.lower() == ".png" and not out.is_dir()
    if out is not None and not png and (out.is_file() or out.suffix.lower() in (*MEDIA, *OTHER)):
        raise ValueError(f"out={printable(str(out))}: expected a folder, or a name ending in .png")
    if out is not None and png:
        if len(paths) > 1:
            raise ValueError(f"out={printable(str(out))}: expected a folder, because {len(paths)} files are examined")
        found = [Outputs(out.with_suffix(".html"), out.with_suffix(".json"), out, out)]
    else:
        folder = out or Path()
        taken = Counter(path.stem for path in paths)
        found = [_named(folder, path, taken[path.stem] > 1) for path in paths]
    _check(found, paths, out)
    return found


def _named(folder: Path, path: Path, hashed: bool) -> Outputs:
    stem = path.stem
    if hashed:
        stem += f"-{hashlib.sha256(os.fsencode(str(path))).hexdigest()[:8]}"
    ends = ("report.html", "report.json", "score.png", "timeline.png")
    return Outputs(*(folder / name_of(stem, end) for end in ends))


def _check(outputs: Sequence[Outputs], paths: Sequence[Path], out: Path | None) -> None:
    """Raise ValueError if an output is an examined file or a link to one."""
    inputs = {(about.st_dev, about.st_ino) for about in (path.stat() for path in paths if path.exists())}
    for one in outputs:
        for place in (one.report, one.json, one.picture, one.timeline):
            if place.exists() and (place.stat().st_dev, place.stat().st_ino) in inputs:
                name = printable(str(place if out is None else out))
                raise ValueError(f"out={name}: this is the input file; choose another name")


def name_of(stem: str, end: str) -> str:
    """Return `STEM-END`. If this is too long for a file name, the stem is shortened and its hash is inserted."""
    raw = os.fsencode(f"{stem}-{end}")
    if len(raw) <= LONGEST:
        return os.fsdecode(raw)
    end = f"-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}-{end}"
    kept = stem
    while len(os.fsencode(kept + end)) > LONGEST:
        kept = kept[:-1]
    return kept + end
