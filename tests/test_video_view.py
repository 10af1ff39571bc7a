"""A video is what a person sees: the right stream, turned, with square pixels, at the right times, in every decoder."""

import os
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from av.stream import Disposition

from conftest import unmask
from unmask.media import container
from unmask.media import video as videos
from unmask.media.encode import Clock, write_video
from unmask.media.kinds import MediaError
from unmask.media.pictures import WholePictures
from unmask.media.probe import file_statistics
from unmask.media.reader import open_media
from unmask.media.recipe import FaceCrops
from unmask.media.stream import clock, stream
from unmask.media.view import view_of
from unmask.provenance import read_marks

TEXTURE = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), (256, 192), interpolation=cv2.INTER_CUBIC
)
TURNED = {  # the display matrix a, b, c, d: (x, y) is shown at (a x + c y, b x + d y)
    "upright": (1, 0, 0, 1), "hflip": (-1, 0, 0, 1), "vflip": (1, 0, 0, -1), "half turn": (-1, 0, 0, -1),
    "transposed": (0, 1, 1, 0), "clockwise": (0, 1, -1, 0), "anticlockwise": (0, -1, 1, 0), "both": (0, -1, -1, 0),
}  # fmt: skip
BY_HAND = {
    "upright": lambda p: p, "hflip": lambda p: p[:, ::-1], "vflip": lambda p: p[::-1],
    "half turn": lambda p: p[::-1, ::-1], "transposed": lambda p: p.transpose(1, 0, 2),
    "clockwise": lambda p: np.rot90(p, -1), "anticlockwise": np.rot90,
    "both": lambda p: np.rot90(p, 2).transpose(1, 0, 2),
}  # fmt: skip


def picture(number: int, height: int = 96, width: int = 128) -> np.ndarray:
    return np.roll(TEXTURE, (number, 2 * number), (0, 1))[:height, :width].copy()


def make(path: Path, codec="libx264", pixels="yuv420p", size=(96, 128), count=20, times=None, form=None, **settings):
    """A clip whose texture moves, with settings of its codec context and, in `options`, of its encoder."""
    options = settings.pop("options", {"crf": "10", "x264-params": "threads=1"} if codec == "libx264" else {})
    matrix = settings.pop("matrix", None)
    with av.open(str(path), "w", format=form) as container:
        out = container.add_stream(codec, rate=10, options=options)
        out.height, out.width, out.pix_fmt = *size, pixels
        out.codec_context.thread_count = 1
        if times:
            out.codec_context.time_base = Fraction(1, 1000)
        if matrix:
            a, b, c, d = (value << 16 for value in matrix)
            out.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        for name, value in settings.items():
            setattr(out.codec_context, name, value)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(format=pixels)
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(out.encode(frame))
        container.mux(out.encode())
    return path


def plain(path: Path) -> np.ndarray:
    """All frames of the last video stream as PyAV decodes them, stored as they are."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(container.streams.video[-1])])


def everything(path: Path, decoder: str = "pyav") -> np.ndarray:
    reader = open_media(path, decoder)
    return reader.read(list(range(len(reader))))


# ---- how a frame is shown


@pytest.mark.parametrize("name", TURNED)
def test_a_display_matrix_turns_and_mirrors(tmp_path, name, decoder):
    path = make(tmp_path / "a.mp4", count=6, matrix=TURNED[name])
    expected = np.stack([BY_HAND[name](frame) for frame in plain(path)])
    np.testing.assert_array_equal(everything(path, decoder), expected)
    np.testing.assert_array_equal(np.stack(list(stream(path))), expected)
    found = file_statistics(path)
    assert (found["height"], found["width"]) == expected.shape[1:3]


def test_a_matrix_between_two_ways_is_shown_as_the_nearest(tmp_path):
    path = make(tmp_path / "a.mp4", count=1, matrix=TURNED["clockwise"])
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    turned = view_of(frame, None)

    class Slanted:
        height, width, rotation = frame.height, frame.width, frame.rotation

        def __init__(self, *numbers: int):
            box = type("Box", (), {"__bytes__": lambda self: struct.pack("=9i", *numbers)})()
            box.type = type("Type", (), {"name": "DISPLAYMATRIX"})
            self.side_data = [box]

    one = 1 << 16
    near = view_of(Slanted(3000, one - 9, 0, 9 - one, -2500, 0, 0, 0, 1 << 30), None)
    assert near == turned and turned.size == (128, 96)
    assert view_of(Slanted(*[0] * 9), None).size == (96, 128), "a matrix of zeros says nothing"


@pytest.mark.parametrize(
    ("name", "size", "aspect", "shown"),
    [
        ("a.mp4", (96, 64), Fraction(2, 1), (96, 128)),
        ("a.mkv", (96, 128), Fraction(1, 2), (192, 128)),  # the height grows, so that no pixel is lost
        ("a.mov", (96, 96), Fraction(16, 11), (96, 140)),
        ("a.ts", (96, 96), Fraction(4, 3), (96, 128)),
    ],
)
def test_pixels_are_made_square(tmp_path, name, size, aspect, shown, decoder):
    path = make(tmp_path / name, size=size, sample_aspect_ratio=aspect, count=6)
    if name == "a.ts" and decoder != "pyav":
        with pytest.raises(MediaError, match=f"{decoder} does not give .* choose data.recipe.decoder=pyav"):
            open_media(path, decoder)
        return
    stored = plain(path)
    expected = np.stack([cv2.resize(f, shown[::-1], interpolation=cv2.INTER_LINEAR) for f in stored])
    assert stored.shape[1:3] == size
    np.testing.assert_array_equal(everything(path, decoder), expected)
    np.testing.assert_array_equal(np.stack(list(stream(path))), expected)
    found = file_statistics(path)
    assert (found["height"], found["width"]) == shown


def test_pixels_are_made_square_before_they_are_turned(tmp_path):
    path = make(tmp_path / "a.mp4", size=(96, 64), sample_aspect_ratio=Fraction(2, 1), matrix=TURNED["hflip"], count=2)
    expected = np.stack([cv2.resize(frame, (128, 96))[:, ::-1] for frame in plain(path)])
    np.testing.assert_array_equal(everything(path), expected)


def test_a_written_video_has_the_shape_that_is_shown(tmp_path):
    path = make(tmp_path / "a.mp4", size=(96, 64), sample_aspect_ratio=Fraction(2, 1), matrix=TURNED["clockwise"])
    fps, times = clock(path)
    write_video(tmp_path / "b.mp4", stream(path), fps, crf=5, clock=times)
    given, made = everything(path), everything(tmp_path / "b.mp4")
    assert made.shape == given.shape == (20, 128, 96, 3)
    assert np.abs(made.astype(int) - given).mean() < 3


@pytest.mark.parametrize("matrix", ["hflip", "clockwise", "transposed"])
def test_a_face_in_a_turned_or_mirrored_film_is_found_upright(demo_root, tmp_path, matrix):
    """The film is stored turned the other way, so that the matrix brings the face back."""
    upright = open_media(next(iter(sorted(demo_root.glob("Celeb-real/*.mp4"))))).read(list(range(4)))
    back = {"clockwise": "anticlockwise"}.get(matrix, matrix)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        out = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stored = [np.ascontiguousarray(BY_HAND[back](frame)) for frame in upright]
        out.height, out.width, out.pix_fmt = *stored[0].shape[:2], "yuv444p"
        a, b, c, d = (value << 16 for value in TURNED[matrix])
        out.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        for frame in stored:
            container.mux(out.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(out.encode())
    crops = FaceCrops(frames=4, burst=4, crop_size=64)(tmp_path / "a.mp4")
    expected = FaceCrops(crop_size=64).cut(upright, np.arange(4), np.arange(4) / 10)
    np.testing.assert_allclose(crops.box, expected.box, atol=4)
    eyes, mouth = crops.landmarks[:, :2, 1].mean(), crops.landmarks[:, 3:, 1].mean()
    assert eyes + 5 < mouth and (crops.landmarks[:, 0, 0] < crops.landmarks[:, 1, 0]).all()


def test_colours_follow_the_matrix_and_range_that_the_file_names(tmp_path, decoder):
    """Flat fields of Y'CbCr, converted by hand (ITU-R BT.601, BT.709; full and limited range)."""
    luma, blue, red = 120, 100, 170
    for number, (space, span) in enumerate([(5, 1), (1, 1), (5, 2), (1, 2)]):
        path = tmp_path / f"{number}.mkv"
        with av.open(str(path), "w") as container:
            out = container.add_stream("ffv1", rate=10)
            out.height, out.width, out.pix_fmt = 64, 64, "yuv420p"
            out.codec_context.colorspace, out.codec_context.color_range = space, span
            planes = np.concatenate([np.full((64, 64), luma), np.full((16, 64), blue), np.full((16, 64), red)])
            frame = av.VideoFrame.from_ndarray(planes.astype(np.uint8), format="yuv420p")
            frame.colorspace, frame.color_range = space, span
            container.mux(out.encode(frame))
            container.mux(out.encode())
        kr, kb = (0.2126, 0.0722) if space == 1 else (0.299, 0.114)
        y, cb, cr = (luma, blue - 128, red - 128) if span == 2 else (
            (luma - 16) * 255 / 219, (blue - 128) * 255 / 224, (red - 128) * 255 / 224
        )  # fmt: skip
        r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
        expected = [r, (y - kr * r - kb * b) / (1 - kr - kb), b]
        np.testing.assert_allclose(everything(path, decoder)[0].mean((0, 1)), expected, atol=2)


# ---- which stream it is


@pytest.fixture(scope="module")
def covered(tmp_path_factory) -> tuple[Path, Path]:
    """A clip, and the same one behind a cover picture that is the first stream of its file."""
    folder = tmp_path_factory.mktemp("cover")
    clip, path = make(folder / "clip.mp4"), folder / "cover.mp4"
    with av.open(str(clip)) as given, av.open(str(path), "w") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        copy = out.add_stream_from_template(given.streams.video[0])
        out.mux(cover.encode(av.VideoFrame.from_ndarray(picture(0, 48, 64), format="rgb24")))
        out.mux(cover.encode())
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    return clip, path


def test_cover_art_is_never_the_video(covered, decoder):
    clip, path = covered
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
        cover = [bool(s.disposition & Disposition.attached_pic) for s in container.streams.video].index(True)
    try:
        found = everything(path, decoder)
    except MediaError as error:
        assert decoder == "torchcodec" and "choose data.recipe.decoder=pyav" in str(error)
        return
    np.testing.assert_array_equal(found, plain(clip), err_msg=f"the cover is stream {cover}")
    np.testing.assert_array_equal(np.stack(list(stream(path))), plain(clip))
    same = {"width", "height", "num_frames", "codec", "fps"}
    assert {k: file_statistics(path)[k] for k in same} == {k: file_statistics(clip)[k] for k in same}


def test_sound_with_a_cover_is_no_video(tmp_path, decoder):
    for name, cover, held in (("a.mp4", False, "only sound"), ("b.mp4", True, "only a cover picture")):
        with av.open(str(tmp_path / name), "w") as out:
            if cover:
                shown = out.add_stream("mjpeg", rate=1)
                shown.height, shown.width, shown.pix_fmt = 48, 64, "yuvj420p"
                shown.disposition = Disposition.attached_pic
            voice = out.add_stream("aac", rate=44100, layout="mono")
            if cover:
                out.mux(shown.encode(av.VideoFrame.from_ndarray(picture(0, 48, 64), format="rgb24")))
                out.mux(shown.encode())
            for number in range(20):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 44100, 1024 * number
                out.mux(voice.encode(frame))
            out.mux(voice.encode())
        with pytest.raises(MediaError, match=rf"not a readable video \(it holds no video stream, {held}\)"):
            open_media(tmp_path / name, decoder)


# ---- when a frame is shown

UNEVEN = [100 * n for n in range(10)] + [1000 * n for n in range(1, 11)]  # ms


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts"])
@pytest.mark.parametrize("start", [0, 5000])
def test_times_are_those_of_presentation(tmp_path, name, start):
    path = make(tmp_path / name, times=[start + time for time in UNEVEN])
    reader = open_media(path)
    np.testing.assert_allclose(reader.times([2, 6, 10, 14, 18]), [0.2, 0.6, 1, 5, 9], atol=1e-3)
    crops = WholePictures(64, frames=5)(path)
    assert crops.frame.tolist() == [2, 6, 10, 14, 18]
    np.testing.assert_allclose(crops.time, [0.2, 0.6, 1, 5, 9], atol=1e-3)
    assert clock(path)[1].seconds(18) == pytest.approx(9, abs=1e-3)


def test_an_avi_has_an_even_time_for_each_frame(tmp_path):
    reader = open_media(make(tmp_path / "a.avi", options={"crf": "10", "bf": "3"}))
    np.testing.assert_allclose(reader.times(list(range(len(reader)))), np.arange(20) / 10)


def test_times_of_faces_are_those_of_presentation(demo_root, tmp_path):
    frames = open_media(next(iter(sorted(demo_root.glob("Celeb-real/*.mp4"))))).read(list(range(4)))
    times = [0, 100, 1000, 7000]
    write_video(tmp_path / "a.mp4", list(frames), 10, clock=Clock(times, Fraction(1, 1000), 100))
    crops = FaceCrops(frames=4, burst=4, crop_size=64)(tmp_path / "a.mp4")
    np.testing.assert_allclose(crops.time, np.array(times) / 1000, atol=1e-3)


def test_a_recording_that_begins_between_key_frames_begins_with_the_first_of_them(tmp_path):
    path = make(tmp_path / "a.ts", options={"crf": "10", "g": "8", "bf": "2"}, count=40)
    content = path.read_bytes()
    tail = content[len(content) // 3 // 188 * 188 :]
    (tmp_path / "tail.ts").write_bytes(content[: 3 * 188] + tail)  # the tables, and what comes after a third
    found, expected = everything(tmp_path / "tail.ts"), plain(tmp_path / "tail.ts")
    assert 10 < len(found) < 30
    np.testing.assert_array_equal(found, expected)


# ---- every decoder gives the same frames, or names one that does

CLIPS = {
    "8 bits.mp4": {}, "8 bits.mov": {}, "8 bits.mkv": {}, "8 bits.avi": {}, "8 bits.ts": {},
    "ten bits.mp4": {"pixels": "yuv420p10le"}, "ten bits 422.mov": {"pixels": "yuv422p10le"},
    "422.mp4": {"pixels": "yuv422p"}, "odd.mp4": {"pixels": "yuv444p", "size": (95, 127)},
    "odd.webm": {"codec": "libvpx-vp9", "size": (95, 127)}, "even.webm": {"codec": "libvpx-vp9"},
    "uneven.mp4": {"times": UNEVEN}, "one.mp4": {"count": 1}, "jpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "open.mp4": {"options": {"crf": "10", "x264-params": "threads=1:keyint=6:open-gop=1:scenecut=0:bframes=2"}},
    "refresh.mkv": {"options": {"crf": "10", "x264-params": "threads=1:keyint=6:intra-refresh=1:scenecut=0"}},
    "interlaced.mp4": {"options": {"crf": "10", "x264-params": "threads=1:interlaced=1"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2", "g": "6", "b": "1M"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "form": "mpeg", "options": {"bf": "2", "g": "6", "b": "1M"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2", "g": "6", "b": "1M"}},
    "hevc.mkv": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=6:pools=none"}},
}  # fmt: skip
READ_BY_ALL = {"8 bits.mp4", "8 bits.mov", "8 bits.mkv", "422.mp4", "odd.mp4", "even.webm", "uneven.mp4", "one.mp4"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, settings in CLIPS.items():
        make(folder / name, **settings)
    return folder


@pytest.mark.parametrize("name", CLIPS)
def test_decoders_agree_or_refuse(clips, name, decoder):
    """Against PyAV's plain decoding of every frame, whatever frames are asked for."""
    path = clips / name
    every = plain(path)
    for wanted in (range(len(every)), [len(every) - 1], range(2, len(every), 5), range(0, len(every), 2)):
        if not (wanted := list(wanted)):
            continue
        try:
            found = open_media(path, decoder).read(wanted)
        except MediaError as error:
            assert name not in READ_BY_ALL and decoder != "pyav", error
            assert str(error).startswith(f"{decoder} does not give the frames of this video exactly")
            assert "choose data.recipe.decoder=pyav, which does" in str(error)
        else:
            np.testing.assert_array_equal(found, every[wanted], err_msg=str(wanted))


def joined(path: Path, *sizes: tuple[int, int], codec="libx264", **options) -> Path:
    """Clips of ten frames of these sizes, one after the other in one stream, as a screen recorder writes them."""
    with av.open(str(path), "w") as container:
        out = container.add_stream(codec, rate=10, options={"crf": "15", **options})
        out.height, out.width, out.pix_fmt = *sizes[0], "yuv420p"
        for part, size in enumerate(sizes):
            context = av.CodecContext.create(codec, "w")
            context.height, context.width, context.pix_fmt = *size, "yuv420p"
            context.time_base, context.options = Fraction(1, 10), {"crf": "15", "bf": "0", **options}
            for number in [*range(10), None]:
                frame = None
                if number is not None:
                    frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
                    frame.pts, frame.time_base = 10 * part + number, Fraction(1, 10)
                for packet in context.encode(frame):
                    packet.stream, packet.time_base = out, Fraction(1, 10)
                    container.mux(packet)
    return path


@pytest.mark.parametrize("codec", ["libx264", "libvpx"])
def test_a_change_of_resolution_is_refused_alike(tmp_path, codec, decoder):
    path = joined(tmp_path / "a.mkv", (96, 128), (48, 64), codec=codec)
    with pytest.raises(MediaError, match=r"its resolution changes, from 128x96 to 64x48 px: re-encode it"):
        open_media(path, decoder)
    with pytest.raises(MediaError, match="its resolution changes"):
        list(stream(path))
    same = joined(tmp_path / "b.mkv", (96, 128), (96, 128), codec=codec)
    assert len(open_media(same, decoder)) == 20


# ---- what is refused


def test_a_codec_that_nothing_decodes_is_named(tmp_path, decoder):
    path = make(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(MediaError, match=r"not a readable video \(no decoder for its codec 'zzzz'\)"):
        open_media(path, decoder)
    with pytest.raises(MediaError, match="'zzzz'"):
        file_statistics(path)


def test_a_text_that_names_another_file_is_no_video(tmp_path, decoder):
    make(tmp_path / "sibling.mp4")
    texts = {
        "concat.mp4": "ffconcat version 1.0\nfile 'sibling.mp4'\n",
        "list.ts": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsibling.mp4\n#EXT-X-ENDLIST\n",
        "session.mov": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError, match="not a readable video"):
            open_media(tmp_path / name, decoder)
        with pytest.raises(MediaError, match="not a readable video"):
            list(stream(tmp_path / name))
        with pytest.raises(ValueError, match="not a readable picture, video or sound file"):
            read_marks(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not allow these file names")
@pytest.mark.parametrize(
    "name", ["file:clip.mp4", "12:30.mp4", "http:clip.mp4", "a%03d.mp4", "-x.mp4", "|x.mp4", "#.mp4"]
)
def test_a_name_is_never_taken_for_a_protocol_or_pattern(tmp_path, monkeypatch, name, decoder):
    given = make(tmp_path / "clip.mp4", count=3)
    monkeypatch.chdir(tmp_path)
    shutil.copy(given, name)
    np.testing.assert_array_equal(everything(Path(name), decoder), plain(given))
    fps, times = clock(Path(name))
    write_video(Path(f"made:{name}"), stream(Path(name)), fps, metadata={"comment": "c"}, sound=Path(name), clock=times)
    assert len(everything(Path(f"made:{name}"))) == 3 and read_marks(Path(f"made:{name}"))["comment"] == "c"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not allow these file names")
def test_a_name_that_is_not_utf8_is_read(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(make(tmp_path / "clip.mp4", count=3), path)
    assert len(everything(path)) == 3


def test_pixels_of_a_video_are_limited(tmp_path, monkeypatch, decoder):
    path = make(tmp_path / "a.mp4")
    monkeypatch.setattr(videos, "MOST_AT_ONCE", 6 * 96 * 128)
    assert open_media(path, decoder).read(list(range(6))).shape == (6, 96, 128, 3)
    with pytest.raises(
        MediaError, match=r"too large: 7 frames of 128x96 px take .* set data.recipe.frames to at most 6"
    ):
        open_media(path, decoder).read(list(range(7)))
    monkeypatch.setattr(container, "MOST_PIXELS", 96 * 128 - 1)
    videos._describe.cache_clear()
    with pytest.raises(MediaError, match=r"too large: a frame has 128x96 px, expected at most 12,287 pixels"):
        open_media(path, decoder)


BOMB = """
import sys
from pathlib import Path
from unmask.media.kinds import MediaError
from unmask.media.pictures import WholePictures
from unmask.media.recipe import FaceCrops
print(WholePictures(64)(Path(sys.argv[1])).pixels.shape)
try:
    FaceCrops()(Path(sys.argv[1]))
except MediaError as error:
    print(error)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc, which only Linux has")
def test_a_small_file_does_not_fill_the_memory(tmp_path):
    """32 black frames of 5000x5000 px are 2.4 GB as RGB, in a file of 2 MB: made small one by one, or refused."""
    path = tmp_path / "bomb.mp4"
    with av.open(str(path), "w") as container:
        out = container.add_stream("libx264", rate=24, options={"preset": "ultrafast", "crf": "40"})
        out.height, out.width, out.pix_fmt = 5000, 5000, "yuv420p"
        frame = av.VideoFrame(5000, 5000, "yuv420p")
        for plane, value in zip(frame.planes, (16, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        key = bytes([*out.encode(frame), *out.encode()][0])
        for number in range(32):  # one key frame again and again
            packet = av.Packet(key)
            packet.stream, packet.time_base, packet.is_keyframe = out, Fraction(1, 24), True
            packet.pts = packet.dts = number
            container.mux(packet)
    assert path.stat().st_size < 3e6
    done = subprocess.run([sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, check=True)
    shape, reason, peak = done.stdout.splitlines()
    assert shape == "(32, 3, 64, 64)"
    assert "too large: 32 frames of 5000x5000 px take 2.4 GB" in reason
    assert int(peak) < 700_000  # kB


def test_a_pipe_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="not a regular file"):
        open_media(tmp_path / "a.mp4")


def test_what_is_not_read_is_set_aside_with_its_reason(tmp_path):
    """A folder data set lists every file that is media by its name, and the good ones are prepared."""
    root = tmp_path / "data"
    for folder in ("real", "fake/edit"):
        (root / folder).mkdir(parents=True)
        for number in range(4):
            make(root / folder / f"{number}.mp4", count=2 + number)
    cv2.imwrite(str(root / "real/photo.tiff"), picture(3)[..., ::-1])
    (root / "real/moving.gif").write_bytes(b"GIF89a" + bytes(40))
    (root / "fake/edit/new.jxl").write_bytes(b"\xff\x0a" + bytes(40))
    (root / "fake/edit/list.mp4").write_text("ffconcat version 1.0\nfile '0.mp4'\n")
    (root / "real/phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    arguments = ("data=folder", "data/recipe=pictures", f"data.root={root}", "data.recipe.crop_size=32")
    unmask("prepare", *arguments, "prepare.num_workers=0", cwd=tmp_path)
    store = next((tmp_path / "outputs/prepared/folder").glob("*/rejected.csv"))
    reasons = pd.read_csv(store).set_index("path")["rejected"]
    assert set(reasons.index) == {"real/moving.gif", "fake/edit/new.jxl", "fake/edit/list.mp4", "real/phone.heic"}
    assert "GIF is not supported" in reasons["real/moving.gif"] and "JPEG XL" in reasons["fake/edit/new.jxl"]
    assert "not a readable video" in reasons["fake/edit/list.mp4"] and "HEIC" in reasons["real/phone.heic"]
