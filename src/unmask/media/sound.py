"""The sound of a file, packet by packet: as it is where an mp4 may hold it, else as AAC."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from unmask.media.kinds import MediaError

SOUNDS = ("wav", "mp3", "aac", "flac")  # containers that sound may be taken from, besides those of videos
# Sound that an mp4 may hold as it is; all other becomes AAC.
AS_IT_IS = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}


Encoded: TypeAlias = "Packet[Any]"  # of a stream of any kind


class Timed(NamedTuple):
    """A packet and the time at which it is due, s."""

    due: float
    packet: Encoded


def timed(packet: Encoded) -> Timed:
    """A packet with the time at which it is due; 0 where it does not say."""
    return Timed(float((packet.dts or 0) * packet.time_base), packet)


def read_sound(source: InputContainer, target: OutputContainer) -> Iterator[Timed]:
    """The packets of all sound streams of a file, in its order, ready for `target`, which gets streams for them.

    Raises:
        MediaError: the codec of the sound is unknown.
    """
    copied, encoded = dict[int, AudioStream](), dict[int, AudioStream]()
    streams = source.streams.audio
    for stream in streams:
        codec: AudioCodecContext | None = stream.codec_context  # None of a codec that FFmpeg does not know
        if codec is None:
            raise MediaError("the codec of its sound is not known here: save the file with AAC sound")
        # AAC without a header of its own (from a transport stream) is framed as mp4 does not have it.
        if codec.name in AS_IT_IS and not (codec.name == "aac" and not codec.extradata):
            copied[stream.index] = target.add_stream_from_template(stream)
        else:
            # A file of bare samples may not say where its channels belong.
            layout = {1: "mono", 2: "stereo"}.get(codec.channels, codec.layout.name)
            encoded[stream.index] = target.add_stream("aac", rate=codec.sample_rate, layout=layout)
    if not streams:
        return
    for packet in source.demux(streams):
        index = packet.stream.index
        if index in encoded:
            for frame in packet.decode():
                yield from map(timed, encoded[index].encode(frame))
        elif packet.dts is not None:  # the last one only says that it is over
            packet.stream = copied[index]
            yield timed(packet)
    for encoder in encoded.values():
        yield from map(timed, encoder.encode())
