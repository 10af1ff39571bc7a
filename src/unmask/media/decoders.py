"""Look up video decoders by name, check that they are available, and return their versions."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from unmask.media.kinds import first_line
from unmask.media.pyav_reader import PyavReader, VideoReader
from unmask.media.seeking_readers import DecordReader, TorchcodecReader

DECODERS: dict[str, Callable[[Path], VideoReader]] = {
    "decord": DecordReader,
    "pyav": PyavReader,
    "torchcodec": TorchcodecReader,
}
PACKAGES = {"decord": "decord", "pyav": "av", "torchcodec": "torchcodec"}


def choose_decoder(name: str = "auto") -> str:
    """Resolve a decoder name; `auto` means PyAV, which reads a few frames of an H.264 video fastest.

    Raises:
        ValueError: the decoder is unknown, not installed, or does not load.
    """
    if name == "auto":
        return "pyav"
    if name not in DECODERS:
        raise ValueError(f"unknown decoder '{name}'; expected one of auto, {', '.join(DECODERS)}")
    if not find_spec(PACKAGES[name]):
        raise ValueError(f"the decoder '{name}' is not installed: pip install {PACKAGES[name]}, or choose auto")
    if name == "torchcodec":
        try:
            import_module("torchcodec.decoders")
            # Without FFmpeg, newer releases still load (they can read pictures), but fail at the first video.
            if import_module("torchcodec").ffmpeg_major_version is None:
                raise RuntimeError("it found no FFmpeg")
        except (ImportError, RuntimeError, OSError) as error:
            raise ValueError(
                f"the decoder 'torchcodec' does not load ({first_line(error)}): install the shared libraries of FFmpeg "
                "(apt-get install ffmpeg, or conda install ffmpeg) and a torchcodec release that matches this PyTorch, "
                "or choose auto"
            ) from None
    return name


def decoder_version(name: str = "auto") -> str:
    """Return a decoder's name and version, such as `decord 0.6.0`.

    Both are part of a recipe's key, because pixels may depend on the version.
    """
    chosen = choose_decoder(name)
    found = f"{chosen} {version(PACKAGES[chosen]).partition('+')[0]}"
    if chosen == "torchcodec":  # its wheel does not bundle FFmpeg
        found += f" with FFmpeg {import_module('torchcodec').ffmpeg_major_version}"
    return found
