"""Mark generated media: metadata in the file, a watermark in the pixels, and a visible label."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.provenance import xmp
from unmask.provenance.marks import (
    ALTERED,
    GENERATED,
    RENDERED,
    TERMS,
    TRAINED,
    UNSPECIFIED,
    read_marks,
    source_marks,
    write_picture,
    xmp_packet,
)
from unmask.provenance.watermark import PAYLOAD, PSNR, embed, encode, read

Pixels = NDArray[np.uint8]
WORDS = {
    GENERATED: "made by a generative model",
    TRAINED: "partly made by a generative model",
    RENDERED: "rendered by an algorithm",
    ALTERED: "altered by an algorithm",
    "compositeSynthetic": "composed of several parts, some of which are synthetic",
}
_OFF = "off"


@dataclass(frozen=True)
class Marking:
    """The marks that are applied to all published output of a generator; only the config can turn them off.

    Attributes:
        metadata: Whether to write metadata: tags of the file format, and XMP.
        watermark: Whether to embed the imperceptible watermark in the pixels.
        label: Visible ASCII text in a corner of every video frame; empty for no label.
        payload: The 32 bits carried by the watermark.
        psnr: PSNR of the watermarked picture, dB. At 39.5 dB, the watermark is readable after H.264 at crf 28; at a
            higher PSNR, it may not be.
        source: IPTC digital source type, such as `GENERATED` or `TRAINED`.
        comment: Human-readable comment in the metadata, at most 96 characters.

    Raises:
        ValueError: An attribute has a value that is not allowed, such as a `psnr` below 30 dB.
    """

    metadata: bool = True
    watermark: bool = True
    label: str = "AI-generated"
    payload: int = PAYLOAD
    psnr: float = PSNR
    source: str = GENERATED
    comment: str = "synthetic: made by unmask"

    def __post_init__(self) -> None:
        encode(self.payload)
        source_marks(self.source, self.comment)
        if not (self.label.isascii() and (self.label.isprintable())):
            raise ValueError(f"label={self.label!r}: expected only printable ASCII characters")
        if self.psnr < 30:
            raise ValueError(
                f"psnr={self.psnr}: expected at least 30 dB, because the watermark is visible below it; 40 dB is usual"
            )

    def tags(self) -> dict[str, str]:
        """Return the metadata to store in a picture file or a video container; empty if `metadata` is off."""
        return source_marks(self.source, self.comment) if self.metadata else {}

    def picture(self, pixels: Pixels) -> Pixels:
        """Return a uint8 picture, RGB [H, W, 3] or grey [H, W], with the watermark added if `watermark` is on."""
        return embed(pixels, self.payload, self.psnr) if self.watermark else pixels

    def frame(self, frame: Pixels) -> Pixels:
        """Return a uint8 RGB frame [H, W, 3], with the label and then the watermark added if they are on."""
        return self.picture(visible_label(frame, self.label) if self.label else frame)

    def frames(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Add the label and the watermark to each video frame, as `frame` does."""
        return map(self.frame, frames)

    def write(self, path: Path, pixels: Pixels, quality: int = 90) -> None:
        """Mark a picture and save it as `write_picture` does."""
        write_picture(path, self.picture(pixels), self.tags(), quality)

    def finish(self, path: Path) -> None:
        """Add XMP to an MP4 that was written with `tags()` as its metadata."""
        if packet := xmp_packet(self.tags()):
            xmp.append_to_mp4(path, packet)

    def describe(self) -> dict[str, str]:
        """Return which marks are on and which are off, for the manifest."""
        return {
            "metadata": self.source if self.metadata else _OFF,
            "watermark": f"{self.payload:08x} at {self.psnr:g} dB" if self.watermark else _OFF,
            "label": self.label or _OFF,
        }


def visible_label(frame: Pixels, text: str = "AI-generated") -> Pixels:
    """Return a copy of a frame [H, W, 3] with white text on a dark background in its lower left corner.

    The letters' height is a twentieth of the frame's shorter side, but at least 9 px. This height is reduced if the
    text would otherwise not fit.
    """
    height, width = frame.shape[:2]
    font, letter = cv2.FONT_HERSHEY_SIMPLEX, max(9, round(min(height, width) / 20))
    thickness = max(1, round(letter / 10))
    scale = cv2.getFontScaleFromHeight(font, letter, thickness)
    (across, _), _ = cv2.getTextSize(text, font, scale, thickness)
    fits = min(1.0, 0.9 * width / max(across + letter, 1))
    scale, letter, across = scale * fits, max(1, int(letter * fits)), int(across * fits)
    pad = max(1, letter // 2)
    right, top = min(width, across + 4 * pad), max(0, height - letter - 4 * pad)
    labelled = frame.copy()
    plate = labelled[top + pad : height - pad, pad : right - pad]
    plate[:] = plate // 4  # three quarters opaque, so the background stays darker than the text
    place = (2 * pad, height - 2 * pad)
    cv2.putText(labelled, text, place, font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return labelled


def inspect(path: Path, frames: Pixels | None = None, payloads: Sequence[int] = (PAYLOAD,)) -> list[str]:
    """Return one sentence for each mark found in a file. A file without marks may be fake, too: marks can be removed.

    Args:
        path: a picture or a video.
        frames: the file's uncropped pixels, uint8 [H, W, 3] or [T, H, W, 3]; None skips the watermark search.
        payloads: payloads that are tested separately; see `watermark.read`.
    """
    findings = []
    try:
        marks = read_marks(path)
    except (OSError, ValueError) as error:
        marks = {}
        findings.append(f"metadata: could not be read ({error})")
    term = marks.get("digitalSourceType", UNSPECIFIED).removeprefix(TERMS)
    comment = f"'{marks['comment']}'" if marks.get("comment") else ""
    if term != UNSPECIFIED:
        named = f"{term}, {comment}" if comment else term
        findings.append(f"metadata: the file says it was {WORDS.get(term, 'made in another way')} ({named})")
    elif marks.get("synthetic") == "true":
        findings.append(f"metadata: the file says it is synthetic{f' ({comment})' if comment else ''}")
    if frames is not None:
        reading = read(frames, payloads)
        if reading.present:
            chance = f"the probability of this reading in an unmarked file is at most {max(reading.p_value, 1e-99):.0e}"
            mark = f"watermark: the pixels contain unmask's watermark with payload {reading.payload:08x}"
            findings.append(f"{mark}; {chance}")
    return findings
