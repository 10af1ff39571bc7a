"""Decode, find, track, align: against hand-made cases, another decoder, and real clips."""

from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from unmask.data.dataset import CropDataset, Sampling
from unmask.data.store import MemoryStore
from unmask.media import decoders
from unmask.media.align import TEMPLATE, align_matrix, crop_matrix, warp
from unmask.media.decoders import choose_decoder
from unmask.media.encode import write_video
from unmask.media.find import Faces
from unmask.media.indices import burst_indices, spaced
from unmask.media.kinds import MediaError, first_line
from unmask.media.reader import open_media
from unmask.media.recipe import FaceCrops
from unmask.media.skip import decode_wanted, read_index
from unmask.media.track import all_faces, associate, iou, main_face, smooth
from unmask.metrics import detection


@pytest.mark.parametrize(
    ("total", "frames", "burst", "expected"),
    [
        (10, 5, 1, [1, 3, 5, 7, 9]),
        (300, 4, 1, [37, 112, 187, 262]),
        (48, 32, 16, [*range(4, 20), *range(28, 44)]),
        (100, 2, 4, [49, 50]),  # fewer frames than a burst: one run
        (100, 1, 4, [50]),
        (100, 8, 4, [23, 24, 25, 26, 73, 74, 75, 76]),
        (3, 8, 1, [0, 1, 2]),
        (1, 1, 1, [0]),
    ],
)
def test_frames_are_spread_over_the_whole_video(total, frames, burst, expected):
    assert burst_indices(total, frames, burst) == expected


@pytest.mark.parametrize("total", range(33, 400, 7))
@pytest.mark.parametrize("burst", [1, 2, 8, 32])
def test_bursts_never_overlap_or_leave_the_video(total, burst):
    found = burst_indices(total, 32, burst)
    assert len(found) == 32 and found == sorted(set(found)) and found[0] >= 0 and found[-1] < total


def test_first_frames_are_not_taken_for_even_spacing():
    """DeepfakeBench takes the first N frames (dataset/abstract_dataset.py:217); even spacing reaches both ends."""
    found = np.array(burst_indices(300, 32))
    assert found[-1] > 300 - 10 and np.ptp(np.diff(found)) <= 1


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> Path:
    """A clip whose frame i has the grey value 4 * i."""
    path = tmp_path_factory.mktemp("media") / "numbered.mp4"
    write_video(path, [np.full((64, 96, 3), 4 * i, np.uint8) for i in range(50)], fps=25, crf=5)
    return path


def test_an_index_gives_that_frame(numbered, decoder):
    reader = open_media(numbered, decoder)
    assert len(reader) == 50 and reader.fps == pytest.approx(25)
    wanted = [0, 7, 8, 31, 49]
    frames = reader.read(wanted)
    assert frames.shape == (5, 64, 96, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(frames.mean((1, 2, 3)), 4 * np.array(wanted), atol=2)


@pytest.fixture(scope="module")
def by_pyav(shared_data) -> dict[Path, tuple[int, float, list[int], np.ndarray]]:
    """Of each real clip its length, rate, some indices and their frames."""
    clips = {p.stat().st_size: p for p in sorted(shared_data.glob("celebdf_layout/*/*.mp4"))}
    clips |= {p.stat().st_size: p for p in sorted(shared_data.glob("ffpp/*/*/c23/videos/*.mp4"))}
    found = {}
    for path in clips.values():
        reader = open_media(path, "pyav")
        # PyAV decodes all that comes before: the last frames of the smaller ones only.
        last = len(reader) if path.stat().st_size < 1e6 else 60
        wanted = sorted({0, 1, 17, last // 2, last - 2, last - 1})
        found[path] = len(reader), reader.fps, wanted, reader.read(wanted)
    assert len(found) >= 7
    return found


@pytest.mark.slow
@pytest.mark.parametrize("other", ["decord", "torchcodec"])
def test_decoders_give_the_same_pixels_on_real_clips(by_pyav, other):
    """Bit for bit: 8-bit video, converted by the same arithmetic in every FFmpeg since 4.1."""
    try:
        choose_decoder(other)
    except ValueError as error:
        pytest.skip(str(error))
    for path, (length, fps, wanted, frames) in by_pyav.items():
        reader = open_media(path, other)
        assert (len(reader), reader.fps) == (length, fps), path.name
        np.testing.assert_array_equal(reader.read(wanted), frames, err_msg=path.name)


def test_our_frames_are_those_of_decord(demo_root):
    """Against decord itself, which has its own FFmpeg, on rendered videos."""
    decord = pytest.importorskip("decord", reason="decord has packages only for Linux and Windows on x86-64")
    for folder in ("Celeb-real", "Celeb-synthesis"):
        path = sorted((demo_root / folder).glob("*.mp4"))[0]
        theirs, ours = decord.VideoReader(str(path)), open_media(path, "pyav")
        assert len(ours) == len(theirs) and ours.fps == pytest.approx(theirs.get_avg_fps())
        wanted = list(range(len(ours)))
        np.testing.assert_array_equal(ours.read(wanted), theirs.get_batch(wanted).asnumpy(), err_msg=path.name)
        np.testing.assert_array_equal(ours.read([5, 7]), theirs.get_batch([5, 7]).asnumpy(), err_msg=path.name)


def moving(path: Path, **x264: str) -> Path:
    """72 small frames in which a texture moves, encoded with these settings of x264."""
    texture = cv2.resize(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8), (256, 192))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "x264-params": "threads=1", **x264})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for t in range(72):
            frame = av.VideoFrame.from_ndarray(np.roll(texture, (t, 2 * t), (0, 1))[:96, :128].copy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# x264's settings, how many groups can be begun at, how many of 72 frames are decoded at most for the 9th and the 41st.
GOPS = {
    "one long GOP": ({"g": "250", "bf": "3"}, 1, 30),
    "B-pyramid": ({"g": "250", "bf": "7", "x264-params": "threads=1:b-pyramid=normal:b-adapt=0"}, 1, 30),
    "no B-frames": ({"g": "12", "bf": "0"}, 6, 24),
    "short GOPs": ({"g": "12", "bf": "3"}, 6, 16),
    # The key frames of these two are none to begin at: frames after them refer to frames before.
    "open GOPs": ({"g": "12", "bf": "3", "x264-params": "threads=1:open-gop=1:scenecut=0"}, 1, 30),
    "no key frames": ({"g": "12", "x264-params": "threads=1:intra-refresh=1:scenecut=0"}, 1, 30),
    "interlaced": ({"g": "12", "x264-params": "threads=1:interlaced=1"}, 6, 20),
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("settings", GOPS.values(), ids=GOPS.keys())
def test_skipped_frames_change_no_pixel(tmp_path, settings, suffix):
    """Against PyAV's plain decoding of every frame."""
    path = moving(tmp_path / f"clip{suffix}", **settings[0])
    with av.open(str(path)) as container:
        every = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    for wanted in ([0], [71], [5, 6, 7, 40, 41, 42], list(range(3, 72, 11)), sorted({*range(0, 72, 2)})):
        np.testing.assert_array_equal(open_media(path, "pyav").read(wanted), every[wanted], err_msg=str(wanted))


@pytest.mark.parametrize("settings", GOPS.values(), ids=GOPS.keys())
def test_what_no_wanted_frame_refers_to_is_skipped(tmp_path, settings):
    path = moving(tmp_path / "clip.mp4", **settings[0])
    with av.open(str(path)) as container:
        index = read_index(container)
    assert max(index.groups) + 1 == settings[1]
    with av.open(str(path)) as container:
        given = {frame.pts for frame in decode_wanted(container, index, {index.shown[8], index.shown[40]})}
    assert {index.shown[8], index.shown[40]} <= given
    assert len(given) <= settings[2]


@pytest.mark.parametrize(
    ("units", "groups"),
    [
        (["7a 8a 5", "1", "7a 8a 5", "1"], [0, 0, 1, 1]),
        (["5", "1", "9 5", "1"], [0, 0, 1, 1]),  # the parameters are in the header
        (["7a 8a 5", "1", "7a 8b 5", "1"], [0, 0, 0, 0]),
        (["7a 8a 5", "8b 1", "7a 8a 5", "1"], [0, 0, 0, 0]),
    ],
)
def test_no_group_is_left_out_where_parameters_change(units, groups):
    """Packets written by hand: the type of each NAL unit, and a letter that stands for its content."""

    class Packet(SimpleNamespace):
        def __bytes__(self):
            return b"".join(
                (2).to_bytes(2, "big") + bytes([96 + int(unit[0])]) + unit[1:].encode().ljust(1)
                for unit in self.units.split()
            )

    packets = [
        Packet(units=text, pts=at, size=1, is_discard=False, has_sidedata=lambda name: False)
        for at, text in enumerate(units)
    ]
    codec = SimpleNamespace(name="h264", extradata=bytes([1, 0, 0, 0, 0b11111101]))  # lengths of 2 bytes
    stream = SimpleNamespace(codec_context=codec)
    container = SimpleNamespace(
        streams=SimpleNamespace(video=[stream]),
        format=SimpleNamespace(name="mov,mp4,m4a"),
        demux=lambda stream: iter(packets),
    )
    assert read_index(container).groups == groups


def patched(path: Path, box: bytes, at: int, value: bytes) -> Path:
    """A copy of an mp4 with some bytes of a box written over, counted from the box's name."""
    content = bytearray(path.read_bytes())
    start = content.index(box) + at
    content[start : start + len(value)] = value
    copy = path.with_name(f"{box.decode()}.mp4")
    copy.write_bytes(content)
    return copy


def test_frames_that_a_file_hides_do_not_count(numbered, decoder):
    """An edit list that begins ten frames later; decord on its own counts them, and repeats the last frame instead."""
    content = numbered.read_bytes()
    scale = int.from_bytes(content[content.index(b"mdhd") + 16 :][:4], "big")
    start = int.from_bytes(content[content.index(b"elst") + 16 :][:4], "big")
    late = patched(numbered, b"elst", 16, (start + 10 * scale // 25).to_bytes(4, "big"))
    reader = open_media(late, decoder)
    assert len(reader) == 40
    np.testing.assert_allclose(reader.read([0, 1, 39]).mean((1, 2, 3)), [40, 44, 196], atol=2)


def test_a_film_from_a_phone_held_sideways_is_turned_upright(tmp_path, decoder):
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:32, :32] = 255  # the corner at the top left
    write_video(tmp_path / "level.mp4", [frame] * 5, fps=25, crf=5)
    # The matrix x' = -y, y' = x of ISO/IEC 14496-12, 8.3.2: a quarter turn clockwise.
    numbers = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    turn = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    found = open_media(patched(tmp_path / "level.mp4", b"tkhd", 44, turn), decoder).read([0, 4])
    assert found.shape == (2, 96, 64, 3)
    assert found[:, :30, 34:].mean() > 250 and found[:, :30, :30].mean() < 5 and found[:, 36:].mean() < 5


@pytest.mark.parametrize("where", [0.5, 0.9])
def test_a_cut_off_video_is_named_so_by_every_decoder(tmp_path, numbered, decoder, where):
    content = numbered.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * where)])
    with pytest.raises(MediaError, match=r"cut off: only \d+ of 50 frames are present"):
        open_media(tmp_path / "cut.mp4", decoder)


def test_frames_one_by_one_are_those_read_together(numbered, decoder):
    reader = open_media(numbered, decoder)
    for indices in ([0], [3, 4, 11], [7, 7, 20], list(range(0, 50, 7))):
        each = reader.each(indices, lambda at, frame: (at, frame.copy()))
        assert [at for at, _ in each] == list(range(len(indices)))
        np.testing.assert_array_equal(np.stack([frame for _, frame in each]), reader.read(indices))


def test_a_decoder_that_cannot_be_used_names_the_fix(monkeypatch):
    with pytest.raises(ValueError, match="expected one of auto, decord, pyav, torchcodec"):
        choose_decoder("opencv")
    monkeypatch.setattr(decoders, "find_spec", lambda name: None if name in ("torchcodec", "decord") else name)
    with pytest.raises(ValueError, match="pip install torchcodec"):
        choose_decoder("torchcodec")
    assert choose_decoder("auto") == "pyav", "which is always installed"

    def broken(name):
        raise RuntimeError("Could not load libtorchcodec. Likely causes: ...")

    monkeypatch.setattr(decoders, "find_spec", lambda name: name)

    def without_ffmpeg(name):
        return SimpleNamespace(ffmpeg_major_version=None)

    for module in (broken, without_ffmpeg):  # older releases do not load, newer ones load for pictures alone
        monkeypatch.setattr(decoders, "import_module", module)
        with pytest.raises(ValueError, match="install the shared libraries of FFmpeg"):
            choose_decoder("torchcodec")


def test_a_reason_holds_no_time_of_day():
    error = RuntimeError(
        "[06:01:54] /src/video/threaded_decoder.cc:292: [06:01:54] /src/x.cc:218: Check failed: a >= 0"
    )
    assert first_line(error) == "Check failed: a >= 0"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "the file is empty"),
        ("text.mp4", b"this is no video at all" * 10, "not a readable video"),
        ("notes.txt", b"hello", "neither a video"),
        ("broken.jpg", b"\xff\xd8\xff\xe0 no picture", "not a readable picture"),
    ],
)
def test_a_bad_file_is_named_by_its_reason(tmp_path, name, content, reason, decoder):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=reason):
        open_media(tmp_path / name, decoder)
    with pytest.raises(MediaError, match="no such file"):
        open_media(tmp_path / "gone.mp4", decoder)


def test_a_truncated_video_is_an_error_not_a_crash(tmp_path, numbered):
    content = numbered.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(MediaError):
        FaceCrops(frames=8)(tmp_path / "cut.mp4")


def test_iou_by_hand():
    a = np.array([[0, 0, 10, 10], [0, 0, 2, 2]])
    b = np.array([[5, 0, 15, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(iou(a, b), [[50 / 150, 0], [0, 0]])


def faces(*boxes, prob=0.99) -> Faces:
    box = np.array(boxes, np.float32).reshape(-1, 4)
    points = (
        np.stack([box[:, :2] + (box[:, 2:] - box[:, :2]) * share for share in (0.3, 0.4, 0.5, 0.6, 0.7)], 1)
        if len(box)
        else np.zeros((0, 5, 2))
    )
    return Faces(box, np.full(len(box), prob, np.float32), points.astype(np.float32))


def test_two_faces_that_pass_keep_their_tracks():
    found = [faces([10 + 4 * t, 10, 40 + 4 * t, 50], [100, 10, 190, 120]) for t in range(8)]
    found[3] = faces([100, 10, 190, 120])  # the small one is missed once
    tracks = associate(found)
    assert [len(track.frames) for track in tracks] == [8, 7]
    assert main_face(tracks) == tracks[:1]


def test_every_face_that_is_seen_often_enough_is_kept():
    found = [faces([10, 10, 40, 50], [100, 10, 190, 120]) for _ in range(8)]
    found[2] = faces([10, 10, 40, 50], [100, 10, 190, 120], [250, 10, 280, 40])  # seen once: mostly no face
    kept, brief = all_faces(associate(found), 8)
    assert [(len(face), face[0].width, len(face[0].frames)) for face in kept] == [(1, 90.0, 8), (1, 30.0, 8)]
    assert brief == 1
    assert len(all_faces(associate(found[2:3]), 1)[0]) == 3, "a picture shows each face once"


@pytest.fixture(scope="module")
def couple(demo_root, tmp_path_factory) -> Path:
    """Two people of the demo data side by side."""
    clips = [open_media(path).read(list(range(8))) for path in sorted(demo_root.glob("Celeb-real/*.mp4"))[::3][:2]]
    path = tmp_path_factory.mktemp("couple") / "couple.mp4"
    write_video(path, list(np.concatenate(clips, axis=2)), fps=25)
    return path


def test_two_faces_make_two_tracks_and_the_video_is_its_worst_face(couple):
    crops = FaceCrops(frames=8, burst=8, crop_size=64, faces="all")(couple)
    assert crops.track.tolist() == [0] * 8 + [1] * 8 and crops.frame.tolist() == [*range(8)] * 2
    middle = open_media(couple).read([0]).shape[2] / 2
    left = crops.box[:, [0, 2]].mean(1) < middle
    assert len(set(left[:8])) == len(set(left[8:])) == 1 and left[0] != left[8]
    main = FaceCrops(frames=8, burst=8, crop_size=64)(couple)
    np.testing.assert_array_equal(main.pixels, crops.pixels[:8])
    store = MemoryStore({"couple.mp4": crops})
    table = CropDataset(store, store.items, Sampling(frames_per_video=4)).table
    assert table.groupby("track").size().to_dict() == {0: 4, 1: 4}
    table = table.assign(logit=np.where(table["track"] == 1, 3.0, -2.0), dataset="file", split="none")
    assert detection.videos(table)["prob"].item() == pytest.approx(1 / (1 + np.exp(-3.0)))


def test_a_gap_is_filled_on_the_path_of_the_face():
    found = [faces([10 + 5 * t, 20, 60 + 5 * t, 90]) for t in range(12)]
    truth = np.stack([f.boxes[0] for f in found])
    for missing in (4, 5, 6):
        found[missing] = faces()
    boxes, landmarks = smooth(associate(found)[0], np.arange(12), np.arange(12))
    np.testing.assert_allclose(boxes, truth, atol=1.0)
    np.testing.assert_allclose(landmarks[5, 2], (truth[5, :2] + truth[5, 2:]) / 2, atol=1.0)


def test_smoothing_takes_jitter_away():
    rng = np.random.default_rng(0)
    truth = np.stack([[50 + 2 * t, 40 + t, 150 + 2 * t, 170 + t] for t in range(40)]).astype(np.float32)
    noisy = truth + rng.normal(0, 3, truth.shape).astype(np.float32)
    boxes, _ = smooth(associate([faces(box) for box in noisy])[0], np.arange(40), np.arange(40))
    assert np.abs(boxes - truth).mean() < 0.6 * np.abs(noisy - truth).mean()


def test_a_face_that_jumps_between_distant_frames_stays_one_face():
    found = [faces([10, 10, 60, 70]), faces([200, 10, 250, 75]), faces([400, 50, 455, 110])]
    assert [piece.frames for piece in main_face(associate(found))] == [[0], [1], [2]]


def test_a_crop_holds_the_box_with_its_margin():
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[50:110, 100:160] = 255
    crop = warp(frame, crop_matrix(np.float32([100, 50, 160, 110]), 78, 0.3), 78)
    np.testing.assert_array_equal(crop[..., 0] > 127, np.pad(np.ones((60, 60), bool), 9))


@pytest.mark.parametrize("shrink", [2, 3, 5])
def test_a_large_face_is_averaged_not_skipped(shrink):
    """One-pixel stripes: skipping pixels gives black or white, averaging grey."""
    size = 40 * shrink
    frame = np.zeros((size, size, 3), np.uint8)
    frame[:, ::2] = 255
    crop = warp(frame, crop_matrix(np.float32([0, 0, size, size]), 40, 0.0), 40)
    assert abs(crop.mean() - 127.5) < 8 and crop[4:-4, 4:-4].std() < 45


def test_alignment_finds_a_known_rotation():
    angle, scale, shift = np.deg2rad(25), 0.8, np.array([90.0, 40.0])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = (scale * 112 * TEMPLATE @ rotation.T + shift).astype(np.float32)
    matrix = align_matrix(turned, 112, 0.0)
    np.testing.assert_allclose(turned @ matrix[:, :2].T + matrix[:, 2], TEMPLATE * 112, atol=1e-2)
    reference, _ = cv2.estimateAffinePartial2D(turned, TEMPLATE * 112, method=cv2.LMEDS)
    np.testing.assert_allclose(matrix, reference, atol=1e-2)


def test_real_faces_are_found_in_every_frame(shared_data):
    crops = FaceCrops(frames=4, burst=1, crop_size=64)(next(iter(sorted(shared_data.glob("celebdf_layout/*/*.mp4")))))
    assert crops.pixels.shape == (4, 3, 64, 64) and crops.prob.min() > 0.95
    assert crops.statistics["codec"] == "h264"
    assert (np.diff(crops.time) > 0).all()


def test_a_video_without_a_face_says_so(numbered):
    with pytest.raises(MediaError, match="no face found in 3 frames"):  # 0, 2 and 3
        FaceCrops(frames=4)(numbered)


def test_a_key_names_the_pixels(monkeypatch):
    assert FaceCrops().key == FaceCrops(device="cuda").key
    keys = {FaceCrops().key, FaceCrops(margin=0.31).key, FaceCrops(frames=16).key}
    assert FaceCrops(decoder="pyav").key == FaceCrops().key
    with monkeypatch.context() as patch:
        patch.setattr(decoders, "version", lambda package: "0.0.1")
        keys.add(FaceCrops().key)
    assert len(keys) == 4
    assert FaceCrops(faces="all").key != FaceCrops().key
    with pytest.raises(ValueError, match="expected main or all"):
        FaceCrops(faces="both")
    with pytest.raises(ValueError, match="burst=5 does not divide frames=32"):
        FaceCrops(burst=5)
    with pytest.raises(ValueError, match="frames=0: expected a number of frames, at least 1"):
        FaceCrops(frames=0)
    with pytest.raises(ValueError, match="search_every=0: expected a number of frames, at least 1"):
        FaceCrops(search_every=0)


def test_crops_of_evenly_spaced_frames_are_not_reused_by_the_default_recipe():
    """The default was once burst=1 and search_every=1; its crops keep their key, and those of the default differ."""
    old = FaceCrops(burst=1, search_every=1)
    assert old.describe()["version"] == FaceCrops().describe()["version"] == 3
    assert len({old.key, FaceCrops().key, FaceCrops(burst=4, search_every=1).key}) == 3
    # Interpolation between frames that are far apart was a different recipe with the same settings.
    assert FaceCrops(burst=1, search_every=2).describe()["version"] == 4


@pytest.mark.parametrize(
    ("numbers", "every", "expected"),
    [
        ([4, 15, 26, 37], 2, [0, 1, 2, 3]),  # far apart: all
        ([3, 4, 5, 6, 30, 31, 32, 33], 2, [0, 2, 4, 6, 7]),  # two bursts, and the last frame
        ([3, 4, 5, 6, 30, 31, 32, 33], 3, [0, 3, 4, 7]),
        ([0, 1, 2, 3, 4, 5, 6], 3, [0, 3, 6]),
        ([0, 1, 2, 3, 4], 1, [0, 1, 2, 3, 4]),
        ([0], 2, [0]),
    ],
)
def test_faces_are_detected_in_frames_that_are_far_enough_apart(numbers, every, expected):
    assert spaced(np.array(numbers), every).tolist() == expected


@pytest.mark.parametrize("size", [(24, 32), (240, 320)])
def test_equal_frames_give_equal_files(tmp_path, size):
    """With AVX2, x264 reads uninitialised memory at these sizes; freed memory of random content makes that visible."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), (700, 600))
    frames = [np.ascontiguousarray(scene[t : t + size[0], 2 * t : 2 * t + size[1]]) for t in range(12)]
    files = set()
    for _ in range(24):
        held = [rng.bytes(int(rng.integers(1, 300_000))) for _ in range(3)]
        write_video(tmp_path / "a.mp4", frames, 25)
        files.add((tmp_path / "a.mp4").read_bytes())
        del held
    assert len(files) == 1, f"{len(files)} different files of the same frames"
