"""Marks in files: read back by exiftool and ffprobe, written by exiftool and read here, and never a label."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from unmask.media.encode import write_video
from unmask.provenance import (
    GENERATED,
    PAYLOAD,
    RENDERED,
    SYNTHETIC,
    TERMS,
    TRAINED,
    UNSPECIFIED,
    Marking,
    inspect,
    read_marks,
    source_marks,
    visible_label,
    write_picture,
)
from unmask.provenance.watermark import read
from unmask.provenance.xmp import append_to_mp4, read_from_mp4

TERM = TERMS + GENERATED


@pytest.fixture(scope="session")
def exiftool():
    """Tags of a file by group and name, as exiftool sees them."""
    return need("exiftool", lambda path: json.loads(run("exiftool", "-j", "-n", "-G1", "-a", path))[0])


@pytest.fixture(scope="session")
def ffprobe():
    """Tags of a container, as ffprobe sees them."""
    show = ("-v", "error", "-show_entries", "format_tags", "-of", "json")
    return need("ffprobe", lambda path: json.loads(run("ffprobe", *show, path))["format"]["tags"])


def need(tool: str, ask):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool}, by which another program than ours reads the marks, is not installed")
    return ask


def run(*arguments: object) -> str:
    return subprocess.run([str(a) for a in arguments], check=True, capture_output=True, text=True).stdout


def picture(seed: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.kron(random.integers(60, 200, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def clip(path: Path, marking: Marking, frames: int = 10, side: int = 256) -> Path:
    """A marked video: something small moves before a soft picture that stands still."""
    still = cv2.resize(picture(1, 64, 64), (side, side), interpolation=cv2.INTER_CUBIC)
    pixels = (
        cv2.circle(still.copy(), (side // 3 + 3 * n, side // 2), side // 8, (90, 60, 40), -1) for n in range(frames)
    )
    write_video(path, marking.frames(pixels), fps=25, crf=28, metadata=marking.tags())
    marking.finish(path)
    return path


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


# Other programs read ours


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_exiftool_reads_the_source_of_a_picture(tmp_path, exiftool, suffix):
    path = tmp_path / f"made{suffix}"
    Marking().write(path, picture())
    tags = exiftool(path)
    assert tags["XMP-iptcExt:DigitalSourceType"] == TERM
    assert not [key for key in tags if "Warning" in key or "Error" in key]
    if suffix == ".png":
        assert tags["PNG:Comment"].strip() == "synthetic: made by unmask"


def test_exiftool_and_ffprobe_read_the_source_of_a_video(tmp_path, exiftool, ffprobe):
    path = clip(tmp_path / "made.mp4", Marking(source=TRAINED), frames=3, side=64)
    tags = exiftool(path)
    assert tags["XMP-iptcExt:DigitalSourceType"] == TERMS + TRAINED
    assert not [key for key in tags if "Warning" in key or "Error" in key]
    tags = {key: value.strip() for key, value in ffprobe(path).items()}
    assert tags["comment"] == "synthetic: made by unmask" and tags["synthetic"] == "true"
    assert tags["digitalSourceType"] == TERMS + TRAINED


def test_the_packet_behind_a_video_leaves_it_as_it_was(tmp_path):
    path = clip(tmp_path / "made.mp4", Marking(metadata=False), frames=3, side=64)
    before, frames = path.read_bytes(), decoded(path)
    Marking().finish(path)
    assert path.read_bytes()[: len(before)] == before
    assert (decoded(path) == frames).all()


# We read other programs'


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".mp4"])
def test_what_exiftool_wrote_is_read(tmp_path, exiftool, suffix):
    path = tmp_path / f"theirs{suffix}"
    if suffix == ".mp4":
        write_video(path, [picture()] * 2, fps=25)
    else:
        Image.fromarray(picture()).save(path)
    assert "digitalSourceType" not in read_marks(path)
    run("exiftool", "-q", "-n", "-api", "PNGEarlyXMP=1", f"-XMP-iptcExt:DigitalSourceType={TERM}", path)
    assert read_marks(path)["digitalSourceType"] == TERM


@pytest.mark.parametrize(
    "said",
    [
        f'<rdf:Description Iptc4xmpExt:DigitalSourceType="{TERM}"/>',
        f"<rdf:Description iptc:DigitalSourceType = '{TERM}'/>",
        f"<Iptc4xmpExt:DigitalSourceType>\n {TERM}\n</Iptc4xmpExt:DigitalSourceType>",
        f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{TERM}"/>',
    ],
)
def test_every_way_to_write_a_property_in_xmp_is_read(tmp_path, said):
    path = tmp_path / "theirs.jpg"
    Image.fromarray(picture()).save(path, xmp=f"<x:xmpmeta>{said}</x:xmpmeta>".encode())
    assert read_marks(path)["digitalSourceType"] == TERM


def test_marks_are_read_back_whole(tmp_path):
    marks = {"digitalSourceType": TERM, "synthetic": "true", "comment": "synthetic: made by unmask"}
    for name in ("made.png", "made.jpg"):
        Marking().write(tmp_path / name, picture())
        assert read_marks(tmp_path / name) == marks
    assert marks.items() <= read_marks(clip(tmp_path / "made.mp4", Marking(), frames=2, side=64)).items()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no media at all",
        struct.pack(">I4s", 16, b"ftyp") + b"isom\0\0\0\0" + struct.pack(">I4s", 0xFFFFFFFF, b"mdat"),
        struct.pack(">I4s", 16, b"ftyp") + b"isom\0\0\0\0" + struct.pack(">I4sQ", 1, b"moov", 0),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, content):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.mp4: not a readable picture, video or sound file"):
        read_marks(path)
    assert inspect(path)[0].startswith("metadata: could not be read")


@pytest.mark.parametrize("size", [0, 1, 7, 16, 20, 24, 0xFFFFFFFF])
def test_a_box_of_a_lying_size_ends_the_search(tmp_path, size):
    path = tmp_path / "made.mp4"
    path.write_bytes(struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4s", size, b"uuid"))
    assert read_from_mp4(path) == b""


def test_a_packet_is_found_behind_a_box_of_more_than_four_gigabytes(tmp_path):
    """Its size stands in eight bytes; the file has a hole."""
    path = tmp_path / "long.mp4"
    with path.open("wb") as file:
        file.write(struct.pack(">I4sQ", 1, b"mdat", 5 << 30))
        file.truncate(5 << 30)
    append_to_mp4(path, b"a packet")
    assert read_from_mp4(path) == b"a packet"


# A mark never becomes a label


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_whatever_a_mark_says_the_file_is_equally_long(tmp_path, suffix):
    sizes = set()
    for number, source in enumerate([UNSPECIFIED, *sorted(SYNTHETIC), "digitalCapture"]):
        path = tmp_path / f"{number}{suffix}"
        write_picture(path, picture(), source_marks(source, f"number {number}"))
        sizes.add(path.stat().st_size)
        assert read_marks(path).get("digitalSourceType", "").removeprefix(TERMS) == source
    assert len(sizes) == 1


def test_a_picture_of_unspecified_source_says_nothing_in_xmp(tmp_path, exiftool):
    write_picture(tmp_path / "real.png", picture(), source_marks(UNSPECIFIED, ""))
    tags = exiftool(tmp_path / "real.png")
    assert "XMP-iptcExt:DigitalSourceType" not in tags and not [key for key in tags if "Warning" in key]


def test_words_in_a_file_leave_its_pixels_alone(tmp_path):
    """What lies in a data set's own layout carries words only."""
    write_picture(tmp_path / "words.png", picture(), source_marks(RENDERED, ""))
    with Image.open(tmp_path / "words.png") as found:
        assert (np.asarray(found) == picture()).all()


# Everything together


def test_a_published_video_carries_all_three_marks_through_h264(tmp_path):
    path = clip(tmp_path / "made.mp4", Marking(payload=123456))
    frames = decoded(path)
    reading = read(frames)
    assert reading.present and reading.payload == 123456
    assert read_marks(path)["digitalSourceType"] == TERM
    corner = frames[:, 230:250, 8:90]
    assert corner.min() < 70 and corner.max() > 230, "the label is seen"


@pytest.mark.parametrize("off", ["metadata", "watermark", "label"])
def test_each_mark_is_turned_off_by_its_own_key_and_that_is_told(tmp_path, off):
    marking = Marking(**{off: "" if off == "label" else False})
    assert [key for key, value in marking.describe().items() if value == "off"] == [off]
    path = tmp_path / "made.png"
    marking.write(path, picture(2, 256, 256))
    with Image.open(path) as found:
        pixels = np.asarray(found)
    assert bool(read_marks(path)) == (off != "metadata")
    assert read(pixels).present == (off != "watermark")
    frame = next(marking.frames([np.full((256, 256, 3), 128, np.uint8)]))
    assert (frame.max() > 200) == (off != "label")


def test_what_is_on_is_told():
    assert Marking(payload=0xABC).describe() == {
        "metadata": "trainedAlgorithmicMedia",
        "watermark": "00000abc at 39.5 dB",
        "label": "AI-generated",
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"payload": 2**32}, "from 0 to 4294967295"),
        ({"label": "künstlich"}, "label='künstlich': .* ASCII"),
        ({"psnr": 12}, "psnr=12: expected at least 30"),
        ({"comment": "x" * 97}, "at most 96 characters"),
    ],
)
def test_a_marking_that_cannot_be_made_is_refused_at_once(wrong, message):
    with pytest.raises(ValueError, match=message):
        Marking(**wrong)


@pytest.mark.parametrize("shape", [(1080, 1920), (256, 256), (480, 270), (64, 64), (16, 16), (2, 2)])
@pytest.mark.parametrize("shade", [0, 255])
def test_the_label_stands_in_its_corner_and_is_legible(shape, shade):
    frame = np.full((*shape, 3), shade, np.uint8)
    labelled = visible_label(frame)
    assert (frame == shade).all(), "the frame itself stays"
    changed = np.argwhere((labelled != frame).any(-1))
    if min(shape) < 256:
        return  # too small for a corner; it must only not fail
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert top > shape[0] * 0.75 and right < shape[1] * 0.95 and left < shape[1] * 0.1
    assert labelled[top : bottom + 1].max() > 240 and labelled[top : bottom + 1].min() < 70
    assert 9 <= bottom - top + 1 or shade == 0


def test_inspect_reports_in_words_what_it_finds(tmp_path):
    path = tmp_path / "made.png"
    pixels = picture(3, 256, 256)
    Marking().write(path, pixels)
    with Image.open(path) as found:
        words, mark = inspect(path, np.asarray(found))
    assert words == (
        "metadata: the file says it was made by a generative model "
        "(trainedAlgorithmicMedia, 'synthetic: made by unmask')"
    )
    assert mark.startswith(
        f"watermark: the pixels contain unmask's watermark with payload {PAYLOAD:08x}; the probability of this reading "
        "in an unmarked file"
    )
    assert inspect(path) == [words], "no frames, no watermark looked for"
    Image.fromarray(pixels).save(path)
    assert inspect(path, pixels) == []
