"""Decode only what the wanted pictures of an H.264 stream depend on, and get the same pixels as from decoding it all.

Two kinds of packets need not be decoded (ITU-T H.264, 7.4.1). A picture whose nal_ref_idc is 0 is no other picture's
reference. And nothing after an IDR picture refers to anything before it, so a group of pictures that holds no wanted
one, and what follows the last wanted one of its group, is left out as a whole.

Other codecs do not say it as plainly: HEVC's "non-reference" pictures may be referred to by higher temporal layers, and
VP9's may train the probabilities of the next.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

CONTAINERS = {"mp4", "matroska"}  # with all that FFmpeg reads by the same rules: mov, m4a, webm
IDR, PARAMETER_SETS = 5, (7, 8)  # types of NAL units (table 7-1)
SEQUENCE_H264, SEQUENCE_HEVC = 7, 33  # types of NAL units that hold the resolution (ITU-T H.265, table 7-1)
CLOSED = {"vp8", "vp9", "av1", "libdav1d", "libaom-av1"}  # codecs of whose key frames nothing after looks back


class Index(NamedTuple):
    """The packets of a video."""

    times: list[int]  # of presentation, of each in order of decoding
    groups: list[int]  # number of the group that each belongs to; decoding can begin with any
    shown: list[int]  # times of those that no edit list hides, in order of presentation


class KeyFrame(NamedTuple):
    """What a key frame says of its stream, as far as that can be told."""

    headers: tuple[bytes, ...] | None  # the sequence parameter sets in it, which hold the resolution
    closed: bool | None  # whether nothing after it refers to anything before it


def read_key_frame(packet: "Packet[VideoStream]", codec: "VideoCodecContext") -> KeyFrame:
    """Read the headers of a key frame of H.264 or HEVC; of other codecs it is only known whether it is closed.

    Args:
        packet: of a key frame.
        codec: the codec context of its stream.
    """
    if codec.name not in ("h264", "hevc"):
        return KeyFrame(None, True if codec.name in CLOSED else None)
    hevc = codec.name == "hevc"
    found = list(_units(bytes(packet), bytes(codec.extradata or b""), 21 if hevc else 4))
    kinds = [unit[0] >> 1 & 63 if hevc else unit[0] & 31 for unit in found]
    closed = bool({19, 20} & set(kinds)) if hevc else IDR in kinds
    if packet.has_sidedata("new_extradata"):
        return KeyFrame(None, closed)
    wanted = SEQUENCE_HEVC if hevc else SEQUENCE_H264
    return KeyFrame(tuple(unit for unit, kind in zip(found, kinds, strict=True) if kind == wanted), closed)


def read_index(container: "InputContainer", stream: "VideoStream | None" = None) -> Index | None:
    """What must be known of all packets before some are left out; None where the stream does not allow that.

    Args:
        container: just opened; the stream is read to the end.
        stream: of the container; by default its first video stream.
    """
    stream = stream or container.streams.video[0]
    # An AVI, for one, holds no times of presentation.
    if stream.codec_context.name != "h264" or not CONTAINERS & set(container.format.name.split(",")):
        return None
    times: list[int] = []
    groups: list[int] = []
    shown: list[int] = []
    parameters: set[tuple[bytes, ...]] = set()
    extradata, whole = bytes(stream.codec_context.extradata or b""), False
    for packet in _packets(container, stream):
        if packet.pts is None or packet.has_sidedata("new_extradata"):
            return None
        units = list(_units(bytes(packet), extradata))
        begins = any(unit[0] & 31 == IDR for unit in units)
        sent = tuple(unit for unit in units if unit[0] & 31 in PARAMETER_SETS)
        if begins:
            parameters.add(sent)
        # Parameters that change on the way must all reach the decoder, so nothing is left out as a whole.
        whole |= len(parameters) > 1 or bool(sent and not begins)
        groups.append(groups[-1] + begins if groups else 0)
        times.append(packet.pts)
        shown += [] if packet.is_discard else [packet.pts]
    if len(set(times)) < len(times):
        return None
    return Index(times, [0] * len(times) if whole else groups, sorted(shown))


def decode_wanted(
    container: "InputContainer", index: Index, wanted: set[int], stream: "VideoStream | None" = None
) -> Iterator["VideoFrame"]:
    """The frames of these times, among others that had to be decoded for them.

    Args:
        container: just opened.
        index: of `read_index`.
        wanted: times of presentation, in the stream's time base.
        stream: that of `read_index`.
    """
    stream = stream or container.streams.video[0]
    codec = stream.codec_context
    codec.thread_count = 1  # a decoder that works ahead would hear too late which picture it may skip
    left = Counter(group for time, group in zip(index.times, index.groups, strict=True) if time in wanted)
    gap = False
    for packet, time, group in zip(_packets(container, stream), index.times, index.groups, strict=True):
        if not left[group]:
            gap = True
            continue
        if gap:
            yield from codec.decode(None)
            codec.flush_buffers()
        gap = False
        left[group] -= time in wanted
        codec.skip_frame = "DEFAULT" if time in wanted else "NONREF"
        yield from codec.decode(packet)
        if not left.total():
            break
    yield from codec.decode(None)


def _packets(container: "InputContainer", stream: "VideoStream") -> Iterator["Packet[VideoStream]"]:
    return (packet for packet in container.demux(stream) if packet.size)


def _units(data: bytes, extradata: bytes, at_size: int = 4) -> Iterator[bytes]:
    """The NAL units of a packet: after their length where the header is an avcC or hvcC box, else after start codes.

    Args:
        data: the packet.
        extradata: the header.
        at_size: which byte of the box holds the number of bytes of a length.
    """
    if extradata[:1] != b"\x01" or len(extradata) <= at_size:
        yield from filter(None, re.split(b"\x00\x00\x01", data)[1:])
        return
    size, at = (extradata[at_size] & 3) + 1, 0
    while at + size < len(data):
        end = at + size + int.from_bytes(data[at : at + size], "big")
        if end > at + size:
            yield data[at + size : end]
        at = end
