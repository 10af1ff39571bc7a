"""Decode only the needed pictures of an H.264 stream; the pixels equal those of a full decode.

Two kinds of pictures need not be decoded (ITU-T H.264, 7.4.1). First, a picture with a nal_ref_idc of 0, because no
other picture refers to it. Second, in each group (from one IDR picture to the next), the pictures after the last
wanted picture, because no later group refers to them. If no picture of a group is wanted, the whole group is skipped.

Other codecs are less explicit: in HEVC, higher temporal layers may refer to "non-reference" pictures, and in VP9, a
picture to which no other refers may adapt the probabilities used to decode the next picture.
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

CONTAINERS = {"mp4", "matroska"}  # these FFmpeg demuxers also read mov, m4a and webm
IDR, PARAMETER_SETS = 5, (7, 8)  # NAL unit types (table 7-1)
SEQUENCE_H264, SEQUENCE_HEVC = 7, 33  # NAL unit types that contain the resolution (ITU-T H.265, table 7-1)
# Codecs in which no frame after a key frame refers to a frame before that key frame.
CLOSED = {"vp8", "vp9", "av1", "libdav1d", "libaom-av1"}


class Index(NamedTuple):
    """An index of the packets of a video."""

    times: list[int]  # presentation time of each packet, in decoding order
    groups: list[int]  # number of each packet's group; decoding can start at any group
    shown: list[int]  # presentation times not hidden by an edit list, ascending


class KeyFrame(NamedTuple):
    """Properties of a stream, read from one of its key frames."""

    headers: tuple[bytes, ...] | None  # the stream's sequence parameter sets, with the resolution; None if unknown
    closed: bool | None  # whether no frame after the key frame refers to a frame before it; None if unknown


def read_key_frame(packet: "Packet[VideoStream]", codec: "VideoCodecContext") -> KeyFrame:
    """Read the headers of an H.264 or HEVC key frame; for other codecs only `closed` may be known.

    Args:
        packet: the packet of a key frame.
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
    """Return an index of all packets, for skipping some of them later; None if the stream does not allow skipping.

    Args:
        container: freshly opened; the stream is read to the end.
        stream: a stream of the container; by default its first video stream.
    """
    stream = stream or container.streams.video[0]
    # Other containers, such as AVI, may have no presentation times.
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
        # If the parameter sets change within the stream, all must reach the decoder, so no group is skipped.
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
    """Yield the frames with the `wanted` times, and also the frames that had to be decoded to get them.

    Args:
        container: freshly opened.
        index: result of `read_index`.
        wanted: presentation times, in the stream's time base.
        stream: the stream given to `read_index`.
    """
    stream = stream or container.streams.video[0]
    codec = stream.codec_context
    codec.thread_count = 1  # with several threads, the decoder works ahead, so `skip_frame` would change too late
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
    """Yield the NAL units of a packet: length-prefixed if the header is an avcC or hvcC box, else split at start codes.

    Args:
        data: the packet.
        extradata: the header.
        at_size: index of the header byte that encodes the size of a length prefix.
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
