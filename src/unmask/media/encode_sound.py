"""Encode a waveform as a reproducible FLAC file: the same samples give the same bytes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.files import replacing
from unmask.media.pcm import RATE

BLOCK = 4096  # samples per FLAC frame


def write_flac(
    path: Path, sound: NDArray[np.int16], metadata: Mapping[str, str] | None = None, padding: int = 0
) -> None:
    """Write a waveform [S], one channel of 16 kHz, as FLAC; its folder is created, and no partial file is left.

    Args:
        path: where to write.
        sound: 16-bit samples.
        metadata: tags of the file.
        padding: size of an empty block after the tags, in which other programs can write longer tags, bytes.

    Raises:
        ValueError: there are no samples.
    """
    import av

    if not len(sound):
        raise ValueError("no samples to encode; expected at least one")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        name = f"file:{temporary.absolute()}"  # without `file:`, FFmpeg takes some names for protocols
        options = {"fflags": "+bitexact", "metadata_header_padding": str(padding)}
        with av.open(name, "w", format="flac", options=options) as container:
            container.metadata.update(metadata or {})
            stream = container.add_stream("flac", rate=RATE, layout="mono")
            stream.codec_context.format = "s16"
            for start in range(0, len(sound), BLOCK):
                piece = np.ascontiguousarray(sound[None, start : start + BLOCK])
                frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
