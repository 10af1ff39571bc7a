"""A video that is cut off is named so in every container that tells its size, and a whole one never is."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from unmask.media.kinds import MediaError
from unmask.media.reader import open_media

FRAMES = 40
FORMATS = {
    "a.webm": ("webm", "libvpx", "libopus"),
    "a.mkv": ("matroska", "libx264", "aac"),
    "a.avi": ("avi", "mpeg4", None),
    "sound.avi": ("avi", "libx264", "mp3"),
    "a.wmv": ("asf", "wmv2", None),
    "a.flv": ("flv", "flv", None),
    "fragments.mp4": ("mp4", "libx264", None),
}


class Pipe(io.RawIOBase):
    """What a browser or a stream writes to: nothing is filled in afterwards."""

    def __init__(self) -> None:
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, content) -> int:
        self.content += bytes(content)
        return len(content)


def encode(target, form: str, codec: str, sound: str | None) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"} if form == "mp4" else {}
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(target, "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=20)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = 128, 96, "yuv420p", 10
        more = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(noise, 3 * number, 1), format="rgb24")))
        container.mux(stream.encode())
        if more:  # a second longer than the picture, as in many recordings
            for number in range(150):
                part = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
                part.sample_rate, part.pts = 48000, 960 * number
                container.mux(more.encode(part))
            container.mux(more.encode())


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("films")
    for name, (form, codec, sound) in FORMATS.items():
        encode(str(place / name), form, codec, sound)
    for name in ("a.webm", "a.mkv"):
        pipe = Pipe()
        encode(pipe, *FORMATS[name])
        (place / f"live.{name}").write_bytes(pipe.content)
        assert pipe.content != (place / name).read_bytes()
    return place


NAMES = (*FORMATS, "live.a.webm", "live.a.mkv")


# Of sound.avi the last 5 % are sound alone: its pictures are all there.
CUTS = [(name, share) for name in NAMES for share in (0.95, 0.7, 0.4) if (name, share) != ("sound.avi", 0.95)]


@pytest.mark.parametrize(("name", "share"), CUTS)
def test_a_cut_off_file_is_named_so(films, tmp_path, name, share):
    content = (films / name).read_bytes()
    assert len(open_media(films / name)) == FRAMES
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(MediaError, match=r"^cut off: only [\d,]+ of [\d,]+ (bytes|frames) are present"):
        open_media(tmp_path / name)


@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "a.avi"])
def test_a_download_that_was_given_up_ends_in_zeros(films, tmp_path, name):
    content = (films / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.raises(MediaError, match="cut off: it ends in zeros"):
        open_media(tmp_path / name)


def test_what_announces_no_size_or_more_than_it_needs_is_whole(films, tmp_path):
    """An unknown size of the segment, an AVI without its index, bytes behind the end."""
    content = bytearray((films / "a.mkv").read_bytes())
    at = content.index(b"\x18\x53\x80\x67") + 4
    content[at : at + 8] = b"\x01" + b"\xff" * 7
    (tmp_path / "unknown.mkv").write_bytes(content)
    avi = (films / "a.avi").read_bytes()
    (tmp_path / "no index.avi").write_bytes(avi[: avi.index(b"idx1")])
    for name in ("a.mkv", "a.avi", "a.webm", "a.flv", "a.wmv", "live.a.webm"):
        (tmp_path / f"more.{name}").write_bytes((films / name).read_bytes() + b"and a line of text")
    for path in sorted(tmp_path.iterdir()):
        assert len(open_media(path)) == FRAMES, path.name


def test_real_videos_are_whole(shared_data):
    found = sorted(path for path in shared_data.rglob("*") if path.suffix in (".mp4", ".webm", ".mkv", ".avi", ".mov"))
    assert found
    for path in found:
        assert len(open_media(path)) > 0, path
