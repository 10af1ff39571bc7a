"""Read a file's audio packet by packet. Audio that an mp4 can hold is copied; any other is encoded as AAC."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from unmask.media.kinds import MediaError

SOUNDS = ("wav", "mp3", "aac", "flac")  # containers from which audio is read, in addition to video containers
# Codecs that an mp4 can hold; all others are converted to AAC.
AS_IT_IS = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}


Encoded: TypeAlias = "Packet[Any]"  # a packet of any kind of stream


class Timed(NamedTuple):
    """A packet and its decoding time (DTS) in s."""

    due: float
    packet: Encoded


def timed(packet: Encoded) -> Timed:
    """Return a packet with its decoding time, or with 0 if the packet has none."""
    return Timed(float((packet.dts or 0) * packet.time_base), packet)


def read_sound(source: InputContainer, target: OutputContainer) -> Iterator[Timed]:
    """Add the audio streams of a file to `target`, then yield their packets in order, ready to be muxed into `target`.

    Raises:
        MediaError: the audio codec is unknown.
    """
    copied, encoded = dict[int, AudioStream](), dict[int, AudioStream]()
    streams = source.streams.audio
    for stream in streams:
        codec: AudioCodecContext | None = stream.codec_context  # None if FFmpeg does not know the codec
        if codec is None:
            raise MediaError("unknown audio codec: save the file with AAC audio")
        # AAC without extradata (from a transport stream) uses a framing that mp4 does not allow.
        if codec.name in AS_IT_IS and not (codec.name == "aac" and not codec.extradata):
            copied[stream.index] = target.add_stream_from_template(stream)
        else:
            # Some files of raw samples do not specify their channel layout.
            layout = {1: "mono", 2: "stereo"}.get(codec.channels, codec.layout.name)
            encoded[stream.index] = target.add_stream("aac", rate=codec.sample_rate, layout=layout)
    if not streams:
        return
    for packet in source.demux(streams):
        index = packet.stream.index
        if index in encoded:
            for frame in packet.decode():
                yield from map(timed, encoded[index].encode(frame))
        elif packet.dts is not None:  # the last packet only marks the end
            packet.stream = copied[index]
            yield timed(packet)
    for encoder in encoded.values():
        yield from map(timed, encoder.encode())
