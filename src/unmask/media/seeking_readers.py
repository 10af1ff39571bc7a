"""Read frames of a video with decord or TorchCodec, which bring an FFmpeg of their own and seek on their own.

They give PyAV's pixels to the bit, or refuse the file and name PyAV. Damage inside a stream is the exception, which
each conceals its own way. Which stream is the video and when its frames are shown, `media.video` decides for them too.
"""

from importlib import import_module
from pathlib import Path

import numpy as np

from unmask.media.kinds import Frames, MediaError, first_line, is_video
from unmask.media.pyav_reader import Put, PyavReader, VideoReader

# Pixel formats that every FFmpeg since 4.1 converts to RGB alike. Others, such as those of 10 bits, go through a scaler
# that differs between releases by tens of grey levels at the edges of colours.
EXACT = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}
EXACT |= {"gray", "rgb24", "bgr24", "rgba", "bgra", "rgb0", "bgr0"}
# Containers with a time of presentation for each frame, in which decord and torchcodec seek exactly. In AVI, MPEG and
# MPEG-TS they give other frames without a word, unless each frame can be decoded alone.
SEEKABLE = {"mov", "matroska", "webm"}
AT_ONCE = 2**27  # pixels that decord and torchcodec decode at once, which is held three times meanwhile


class _SeekingReader(VideoReader):
    """What a decoder with an FFmpeg of its own needs to give PyAV's frames; the first one is compared."""

    name = ""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if reason := self._unfit():
            raise self._refusal(reason)
        try:
            count = self._open()
        except Exception as error:  # whatever it meets in a damaged file
            raise self._refusal(first_line(error)) from error
        if count < len(self):
            raise self._refusal(f"it counts {count} frames of {len(self)}")
        if not np.array_equal(self.read([0]), PyavReader(path).read([0])):
            raise self._refusal("its first frame is another one")

    def _fill(self, indices: list[int], put: Put) -> None:
        view = self.about.view
        some = max(1, AT_ONCE // (view.stored[0] * view.stored[1]))
        for start in range(0, len(indices), some):
            try:
                stored = view.undo_turns(self._decode(indices[start : start + some]))
            except Exception as error:  # whatever it meets in a damaged file
                raise self._refusal(first_line(error)) from error
            for at, frame in enumerate(stored, start):
                put(at, view(frame))

    def _open(self) -> int:
        """Open the file and count its frames, hidden ones too."""
        raise NotImplementedError

    def _decode(self, indices: list[int]) -> Frames:
        raise NotImplementedError

    def _unfit(self) -> str | None:
        """Why this decoder cannot give the frames of this video exactly; None where it can."""
        about, (height, width) = self.about, self.about.view.stored
        if not is_video(self.path):  # its own FFmpeg takes no list of formats, and older ones guess otherwise
            return "the file does not begin as an MP4, MOV, Matroska, WebM or AVI does"
        seeks = SEEKABLE | ({"avi"} if about.intra_only else set())
        if not seeks & set(about.container.split(",")):
            return f"it does not seek exactly in the container {about.container}"
        if not about.alone:
            return "the file holds several videos"
        if about.pixel_format not in EXACT:
            return f"its pixel format {about.pixel_format} is converted to 8-bit RGB differently by each FFmpeg"
        if (height % 2 or width % 2) and about.pixel_format in ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p"):
            return f"its colours are stored at half the size of {width}x{height} px, which is odd"
        if about.interlaced:
            return "it is interlaced"
        if about.view.quarter_turns and "mov" not in about.container:
            return "it is rotated, and not an MP4 or MOV"
        return None

    def _refusal(self, reason: str) -> MediaError:
        return MediaError(
            f"{self.name} does not give the frames of this video exactly ({reason}): choose data.recipe.decoder=pyav, "
            "which does"
        )


class DecordReader(_SeekingReader):
    """decord: seeks to the key frame before each wanted frame, exact."""

    name = "decord"

    def _unfit(self) -> str | None:
        if not (self.about.closed or self.about.intra_only):
            return "its key frames are none to begin at, since frames after them may refer to frames before"
        return super()._unfit()

    def _open(self) -> int:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        # It repeats the last good frame for one that it cannot read, and counts hidden ones: so PyAV counts.
        self.video = decord.VideoReader(f"file:{self.path.absolute()}", ctx=decord.cpu(0), num_threads=1)
        return len(self.video)

    def _decode(self, indices: list[int]) -> Frames:
        return np.asarray(self.video.get_batch(indices).asnumpy(), dtype=np.uint8)


class TorchcodecReader(_SeekingReader):
    """TorchCodec, on the system's FFmpeg: scans the file once, then seeks exactly."""

    name = "torchcodec"

    def _unfit(self) -> str | None:
        if self.about.codec == "h264" and not self.about.closed:
            return "some of its key frames only begin a gradual refresh, or frames after them refer to frames before"
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
