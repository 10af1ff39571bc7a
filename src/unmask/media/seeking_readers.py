"""Read video frames with decord or TorchCodec, which seek in their own ways and do not use PyAV's FFmpeg.

Both readers return the same pixels as PyAV, bit for bit, or reject the file and recommend PyAV. The only exception is
damage inside a stream, which each decoder conceals differently. `media.video` chooses the stream and the frame times.
"""

from importlib import import_module
from pathlib import Path

import numpy as np

from unmask.media.kinds import Frames, MediaError, first_line, is_video
from unmask.media.pyav_reader import Put, PyavReader, VideoReader

# Pixel formats that every FFmpeg since 4.1 converts to RGB identically. Others, such as 10-bit formats, go through a
# scaler that differs between releases by tens of grey levels at colour edges.
EXACT = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}
EXACT |= {"gray", "rgb24", "bgr24", "rgba", "bgra", "rgb0", "bgr0"}
# Containers with a presentation time for each frame, in which decord and TorchCodec seek exactly. In AVI, MPEG and
# MPEG-TS they silently return wrong frames, except for intra-only AVI.
SEEKABLE = {"mov", "matroska", "webm"}
AT_ONCE = 2**27  # maximum number of pixels decoded per call; memory holds three copies of these pixels


class _SeekingReader(VideoReader):
    """Base class of readers that return exactly PyAV's frames. On opening, the first frame is compared with PyAV's."""

    name = ""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if reason := self._unfit():
            raise self._refusal(reason)
        try:
            count = self._open()
        except Exception as error:  # decoders raise many kinds of errors on damaged files
            raise self._refusal(first_line(error)) from error
        if count < len(self):
            raise self._refusal(f"it finds {count} frames instead of {len(self)}")
        if not np.array_equal(self.read([0]), PyavReader(path).read([0])):
            raise self._refusal("its first frame differs from PyAV's")

    def _fill(self, indices: list[int], put: Put) -> None:
        view = self.about.view
        some = max(1, AT_ONCE // (view.stored[0] * view.stored[1]))
        for start in range(0, len(indices), some):
            try:
                stored = view.undo_turns(self._decode(indices[start : start + some]))
            except Exception as error:  # decoders raise many kinds of errors on damaged files
                raise self._refusal(first_line(error)) from error
            for at, frame in enumerate(stored, start):
                put(at, view(frame))

    def _open(self) -> int:
        """Open the file and return its number of frames, including hidden ones."""
        raise NotImplementedError

    def _decode(self, indices: list[int]) -> Frames:
        raise NotImplementedError

    def _unfit(self) -> str | None:
        """Return why this decoder cannot return the frames of this video exactly; None if it can."""
        about, (height, width) = self.about, self.about.view.stored
        if not is_video(self.path):  # the decoder has no format allowlist, and old FFmpeg versions guess differently
            return "the file does not start like an MP4, MOV, Matroska, WebM or AVI"
        seeks = SEEKABLE | ({"avi"} if about.intra_only else set())
        if not seeks & set(about.container.split(",")):
            return f"{self.name} does not seek exactly in the container {about.container}"
        if not about.alone:
            return "the file has several video streams"
        if about.pixel_format not in EXACT:
            return f"FFmpeg versions convert its pixel format {about.pixel_format} to 8-bit RGB differently"
        if (height % 2 or width % 2) and about.pixel_format in ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p"):
            return f"its chroma is subsampled, and its size of {width}x{height} px is odd"
        if about.interlaced:
            return "the video is interlaced"
        if about.view.quarter_turns and "mov" not in about.container:
            return "the video is rotated, and it is not an MP4 or MOV"
        return None

    def _refusal(self, reason: str) -> MediaError:
        return MediaError(
            f"{self.name} does not give the frames of this video exactly ({reason}): choose data.recipe.decoder=pyav, "
            "which does"
        )


class DecordReader(_SeekingReader):
    """Read frames with decord, which seeks exactly: it decodes from the key frame before each wanted frame."""

    name = "decord"

    def _unfit(self) -> str | None:
        if not (self.about.closed or self.about.intra_only):
            return "decoding cannot start at a key frame, because frames after it may refer to frames before it"
        return super()._unfit()

    def _open(self) -> int:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        # decord replaces unreadable frames by the last good one, and counts hidden frames, so PyAV's count is used.
        self.video = decord.VideoReader(f"file:{self.path.absolute()}", ctx=decord.cpu(0), num_threads=1)
        return len(self.video)

    def _decode(self, indices: list[int]) -> Frames:
        return np.asarray(self.video.get_batch(indices).asnumpy(), dtype=np.uint8)


class TorchcodecReader(_SeekingReader):
    """Read frames with TorchCodec, which uses the system's FFmpeg, scans the file once and then seeks exactly."""

    name = "torchcodec"

    def _unfit(self) -> str | None:
        if self.about.codec == "h264" and not self.about.closed:
            return "some key frames only begin a gradual refresh, or frames after a key frame refer to frames before it"
        return super()._unfit()

    def _open(self) -> int:
        decoder = import_module("torchcodec.decoders").VideoDecoder
        self.video = decoder(
            f"file:{self.path.absolute()}", stream_index=self.about.stream, seek_mode="exact", num_ffmpeg_threads=1,
            dimension_order="NHWC",
        )  # fmt: skip
        return len(self.video)

    def _decode(self, indices: list[int]) -> Frames:
        return np.asarray(self.video.get_frames_at(indices).data.numpy(), dtype=np.uint8)
