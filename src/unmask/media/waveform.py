"""Read the sound of any file that FFmpeg decodes, as one channel of 16 kHz."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unmask.media.kinds import (
    AUDIBLE,
    CONTAINERS,
    CONTAINERS_IN_WORDS,
    SOUND_CONTAINERS,
    SOUND_CONTAINERS_IN_WORDS,
    MediaError,
    first_bytes,
    first_line,
    is_picture,
)
from unmask.media.pcm import RATE, Sound, resample
from unmask.media.video import describe
from unmask.media.whole import cut_off

if TYPE_CHECKING:
    from av import AudioFrame, Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer

RATES = (4_000, 384_000)  # smallest and largest sample rate of a file
MOST_SECONDS = 3_600.0  # longest recording, s
MOST_SAMPLES = 180_000_000  # samples per channel before resampling, 0.7 GB as float32: an hour at 48 kHz
MOST_CHANNELS = 64
MOST_SHIFT = 60  # longest time between the first frame of a video and the start of its sound, s
BROKEN = 0.02  # largest share of damaged packets, which are skipped as in a player
FULL = 1 - 2**-11  # a sample of at least this magnitude counts as clipped


class Recording(NamedTuple):
    """The sound of a file."""

    sound: Sound  # [S] at `RATE`
    codec: str
    sample_format: str  # FFmpeg's name, such as `s16`
    rate: int  # samples per second in the file
    channels: int
    clipped: float  # share of the file's samples at full scale
    start: float  # time of the first sample, in s after the start of the file's clock


def read_waveform(path: Path, longest: float = MOST_SECONDS) -> Recording:
    """Decode a file's sound, mix its channels and resample it to `RATE`.

    If a file has several sound streams, the first stream marked as default is read, else the first stream.

    Args:
        path: a sound file, or a video with sound.
        longest: maximum duration, s.

    Raises:
        MediaError: the file has no sound that can be read, is truncated, or is longer than `longest`.
    """
    first_bytes(path, 1)
    if path.suffix.lower() not in AUDIBLE:
        raise MediaError(f"'{path.suffix}' is neither a sound file nor a video ({' '.join(sorted(AUDIBLE))})")
    try:
        with _opened(path) as (container, stream):
            return _read(path, container, stream, min(longest, MOST_SECONDS))
    except MediaError:
        raise
    except Exception as error:  # decoders raise many kinds of errors on damaged files
        raise MediaError(f"broken sound stream ({first_line(error)})") from error


def read_beside(path: Path, longest: float = MOST_SECONDS) -> Recording:
    """Read the sound of a video, so that its first sample is played at the time of the video's first frame.

    Sound that starts later is preceded by silence, and sound that is played before the first frame is cut off.

    Raises:
        MediaError: see `read_waveform`; or the file is a picture.
    """
    if is_picture(path):
        raise MediaError("a picture has no sound: set data.recipe.sound=false")
    about, found = describe(path), read_waveform(path, longest)
    late = round((found.start - float(about.times[0] * about.base)) * RATE)
    if abs(late) > RATE * MOST_SHIFT:
        raise MediaError(
            f"its sound starts {late / RATE:,.1f} s after its first frame; expected {MOST_SHIFT} s at most"
        )
    shifted = np.concatenate([np.zeros(max(late, 0), np.float32), found.sound[max(-late, 0) :]])
    if not len(shifted):
        raise MediaError("its sound ends before its first frame")
    return found._replace(sound=shifted)


@contextmanager
def _opened(path: Path) -> "Iterator[tuple[InputContainer, AudioStream]]":
    """Open a file and yield (container, sound stream); only allowed formats are parsed (see container.opened)."""
    import av
    from av.stream import Disposition

    allowed = ",".join((*SOUND_CONTAINERS, *CONTAINERS))
    options = {"format_whitelist": allowed, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    except av.ArgumentError:
        words = f"{SOUND_CONTAINERS_IN_WORDS}, {CONTAINERS_IN_WORDS}"
        raise MediaError(f"not a readable sound file (its content is not one of {words})") from None
    except Exception as error:
        raise MediaError(f"not a readable sound file ({first_line(error)})") from error
    with container:
        streams = container.streams.audio
        if not streams:
            raise MediaError("the file has no sound")
        stream = next((one for one in streams if one.disposition & Disposition.default), streams[0])
        if stream.codec_context is None:
            raise MediaError("not a readable sound file (no decoder for its codec): save it as FLAC or WAV")
        yield container, stream


def _read(path: Path, container: "InputContainer", stream: "AudioStream", longest: float) -> Recording:
    rate, channels, full, start = 0, 0, 0, 0.0
    pieces, count, packets, broken = list[Sound](), 0, 0, 0
    for packet in container.demux(stream):
        packets += packet.size > 0
        for frame in _decoded(packet):
            if frame is None:
                broken += 1
                continue
            if not pieces:
                rate, channels, start = frame.sample_rate, frame.layout.nb_channels, float(frame.time or 0)
                _check_format(rate, channels)
            if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
                raise MediaError("its sample rate or number of channels changes: convert it (ffmpeg -i FILE NEW.flac)")
            sound, clipped = _mixed(frame)
            pieces.append(sound)
            full, count = full + clipped, count + len(sound)
            if count > longest * rate or count > MOST_SAMPLES:
                raise MediaError(_too_long(min(longest, MOST_SAMPLES / rate)))
    if reason := cut_off(path, container.format.name, stream.frames, packets) or _short(container, stream, count):
        raise MediaError(reason)
    if broken > BROKEN * packets:
        raise MediaError(f"broken sound stream ({broken} of {packets} packets cannot be decoded)")
    if not count:
        raise MediaError("the file has no sound: its sound stream is empty")
    sound = np.clip(resample(np.concatenate(pieces), rate), -1, 1)
    codec = stream.codec_context
    return Recording(sound, codec.name, codec.format.name, rate, channels, full / (count * channels), start)


def _decoded(packet: "Packet[AudioStream]") -> "Iterator[AudioFrame | None]":
    """Yield the frames of a packet; None if it is damaged."""
    import av

    try:
        yield from packet.decode()
    except av.InvalidDataError:
        yield None


def _check_format(rate: int, channels: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise MediaError(f"its sample rate is {rate:,} Hz; expected {RATES[0]:,} to {RATES[1]:,} Hz")
    if not 1 <= channels <= MOST_CHANNELS:
        raise MediaError(f"it has {channels} channels; expected 1 to {MOST_CHANNELS}")


def _mixed(frame: "AudioFrame") -> tuple[Sound, int]:
    """Return the mean of a frame's channels [S] in [-1, 1], and how many samples of all channels are clipped.

    Raises:
        MediaError: the frame contains samples that are not finite numbers.
    """
    raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T  # [C, S]
    sound = raw.astype(np.float32)
    if raw.dtype.kind == "u":
        sound = np.asarray((sound - 128) / 128, np.float32)
    elif raw.dtype.kind == "i":
        sound = np.asarray(sound / np.float32(2 ** (8 * raw.dtype.itemsize - 1)), np.float32)
    if not np.isfinite(sound).all():
        raise MediaError("it contains samples that are not finite numbers: convert it to 16 bits")
    return sound.mean(0, dtype=np.float32), int((np.abs(sound) >= FULL).sum())


def _too_long(longest: float) -> str:
    return (
        f"too long: expected a recording of at most {longest:,.0f} s; cut it (ffmpeg -i FILE -t {longest:.0f} NEW.flac)"
    )


def _short(container: "InputContainer", stream: "AudioStream", count: int) -> str | None:
    """Return why a FLAC file counts as truncated, by the number of samples that its header states; None otherwise."""
    if container.format.name != "flac" or not stream.duration or not stream.time_base:
        return None
    stated = round(stream.duration * stream.time_base * stream.codec_context.sample_rate)
    return f"cut off: only {count:,} of {stated:,} samples are present" if count < stated else None
