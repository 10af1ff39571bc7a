import csv
import json
import re
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.stats import ks_2samp

from unmask.demo import render
from unmask.demo.forgeries import FaceSwap, Resynthesis, Slide, film
from unmask.demo.people import Person
from unmask.demo.scenes import Scene
from unmask.demo.videos import clips, held_out
from unmask.media.encode import write_video

SMALL = {"people": 6, "test_people": 3, "frames": 4}
CELEBDF = re.compile(r"Celeb-real/id\d+_\d{4}\.mp4|Celeb-synthesis/id\d+_id\d+_\d{4}\.mp4|YouTube-real/\d{5}\.mp4")


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def videos(root: Path) -> list[str]:
    return [name for name in files(root) if name.endswith(".mp4")]


def people_of(name: str) -> list[int]:
    return [int(n) for n in re.findall(r"id(\d+)", name)]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "set"
    render(root, workers=1, **SMALL)
    return root


def test_the_layout_is_celeb_df_s(root):
    names = videos(root)
    assert all(CELEBDF.fullmatch(name) for name in names)
    assert Counter(name.split("/")[0] for name in names) == {"Celeb-real": 18, "Celeb-synthesis": 18, "YouTube-real": 2}
    assert set(files(root)) - set(names) == {"demo.json", "methods.csv", "List_of_testing_videos.txt"}


def test_each_fake_has_a_source_of_its_own_and_a_donor_of_its_group(root):
    sources = set()
    for name in (n for n in videos(root) if n.startswith("Celeb-synthesis")):
        filmed, donor = people_of(name)
        source = f"Celeb-real/id{filmed}_{name[-8:-4]}.mp4"
        assert (root / source).exists()
        assert source not in sources
        assert filmed != donor and filmed // 3 == donor // 3
        sources.add(source)


def test_the_test_list_holds_whole_groups_and_writes_1_for_real(root):
    text = (root / "List_of_testing_videos.txt").read_text()
    assert not text.endswith("\n")
    listed = dict(reversed(line.split(" ")) for line in text.split("\n"))
    assert listed == {name: "0" if name.startswith("Celeb-synthesis") else "1" for name in listed}
    assert set(listed.values()) == {"0", "1"} and any(name.startswith("YouTube-real") for name in listed)
    held = {p for name in listed for p in people_of(name)}
    rest = {p for name in videos(root) if name not in listed for p in people_of(name)}
    assert len(held) == 3 and not held & rest
    assert all((root / name).exists() for name in listed)


def test_the_methods_are_beside_the_names_and_balanced(root):
    with (root / "methods.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {n for n in videos(root) if n.startswith("Celeb-synthesis")}
    assert Counter(row["method"] for row in rows) == {"faceswap": 6, "resynthesis": 6, "temporal": 6}
    fakes = [clip.method for clip in held_out(36, 12) if clip.method != "real"]
    assert Counter(fakes) == {"faceswap": 12, "resynthesis": 12, "temporal": 12}


def test_the_default_set_is_large_enough_for_the_audit():
    labels = Counter(clip.method == "real" for clip in clips(36))
    assert labels[True] >= 90 and labels[False] >= 90


def test_who_is_on_youtube_is_nobody_of_celeb_df():
    tube = {clip.person for clip in clips(36) if clip.folder == "YouTube-real"}
    assert len(tube) == 12 and not tube & {clip.person for clip in clips(36) if clip.folder != "YouTube-real"}


@pytest.mark.slow
def test_workers_decide_no_byte(root, tmp_path):
    render(tmp_path / "two", workers=2, **SMALL)
    assert files(tmp_path / "two") == files(root)


def test_a_missing_clip_is_rendered_again_and_nothing_else(root):
    before, times = files(root), {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
    lost = root / videos(root)[5]
    lost.unlink()
    (root / "Celeb-real" / "id0_0000.mp4.0123456789ab.tmp").write_bytes(b"half a file of a killed run")
    seen = []
    render(root, workers=1, progress=lambda done, total: seen.append((done, total)), **SMALL)
    assert files(root) == before
    assert seen == [(37, 38), (38, 38)]
    assert {p for p, t in times.items() if p.stat().st_mtime_ns != t} == {lost}


def test_other_arguments_are_refused_in_the_same_folder(root):
    with pytest.raises(ValueError, match=r"difficulty: expected 0\.2, found 0\.6.*delete"):
        render(root, difficulty=0.2, workers=1, **SMALL)


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"not empty.*new folder"):
        render(tmp_path, workers=1, **SMALL)
    assert list(tmp_path.iterdir()) == [tmp_path / "thesis.txt"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"difficulty": 1.1}, "difficulty=1.1"),
        ({"difficulty": -0.1}, "difficulty=-0.1"),
        ({"difficulty": float("nan")}, "difficulty=nan"),
        ({"people": 3, "test_people": 3}, "people=3"),
        ({"people": 8, "test_people": 3}, "people=8"),
        ({"people": 6, "test_people": 6}, "test_people=6"),
        ({"people": 6, "test_people": 2}, "test_people=2"),
        ({"frames": 1}, "frames=1"),
        ({"workers": 0}, "workers=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_arguments_out_of_range_are_named_before_anything_is_written(tmp_path, wrong, named):
    with pytest.raises(ValueError, match=named):
        render(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_real_and_fake_share_codec_size_length_and_mark(root):
    seen = set()
    for name in videos(root):
        with av.open(str(root / name)) as container:
            stream = container.streams.video[0]
            frames = sum(1 for _ in container.decode(stream))
            codec = stream.codec_context.name, stream.profile, stream.pix_fmt
            shape = stream.width, stream.height, frames, stream.average_rate, len(container.streams)
            seen.add((codec, shape, tuple(sorted(container.metadata.items()))))
    assert len(seen) == 1
    (name, _, pixels), shape, marks = seen.pop()
    assert (name, pixels, shape) == ("h264", "yuv420p", (256, 256, 4, 25, 1))
    assert ("comment", "synthetic: rendered by unmask demo") in marks


def test_one_frame_of_a_temporal_forgery_is_distributed_as_a_real_one():
    def draws(flicker: bool) -> np.ndarray:
        slides = (Slide(np.random.default_rng([7, flicker, n]), 0.6, 12, flicker) for n in range(3000))
        return np.array([[*slide.shift[5], slide.gain[5]] for slide in slides])

    real, fake = draws(False), draws(True)
    assert all(ks_2samp(real[:, k], fake[:, k]).pvalue > 0.01 for k in range(3))
    still, moving = (Slide(np.random.default_rng(1), 0.6, 12, flicker) for flicker in (False, True))
    assert np.ptp(still.shift, axis=0).max() == 0 and np.ptp(still.gain) == 0
    assert np.ptp(moving.shift, axis=0).min() > 0.5 and np.ptp(moving.gain) > 0.005


def test_a_forgery_leaves_the_background_and_grows_fainter_with_difficulty():
    who, donor, scene = Person(1), Person(2), Scene(3, 2, 25)

    def frame(forgery) -> np.ndarray:
        slide = Slide(np.random.default_rng(4), 0.6, 2)
        return next(film(who, scene, slide, forgery, np.random.default_rng(5))).astype(float)

    def swap(difficulty: float) -> FaceSwap:
        return FaceSwap(donor, np.random.default_rng(6), difficulty)

    def redraw(difficulty: float) -> Resynthesis:
        return Resynthesis(np.random.default_rng(6), difficulty)

    real = frame(None)
    for make in (swap, redraw):
        plain, faint = (np.abs(frame(make(difficulty)) - real) for difficulty in (0.0, 1.0))
        assert plain.mean() > faint.mean() > 0
        for change in (plain, faint):
            assert max(c.max() for c in (change[:30], change[-30:], change[:, :40], change[:, -40:])) == 0


def test_poses_and_light_are_those_of_the_source():
    a, b = Scene([0, 2, 1, 1], 5, 25), Scene([0, 2, 1, 1], 5, 25)
    assert np.array_equal(a.room, b.room) and [p.x for p in a.poses] == [p.x for p in b.poses]
    assert not np.array_equal(a.room, Scene([0, 2, 1, 2], 5, 25).room)


@pytest.mark.slow
def test_other_seeds_are_other_people(root, tmp_path):
    render(tmp_path / "other", workers=1, seed=1, **SMALL)
    assert not set(files(root).values()) & {b for n, b in files(tmp_path / "other").items() if n.endswith(".mp4")}
    assert json.loads((tmp_path / "other" / "demo.json").read_text())["seed"] == 1


def test_write_video_keeps_pixels_order_colour_and_marks(tmp_path):
    colours = [(200, 40, 40), (40, 180, 60), (50, 60, 210), (128, 128, 128)]
    frames = [np.full((48, 64, 3), c, np.uint8) for c in colours]
    write_video(tmp_path / "a.mp4", frames, 29.97, metadata={"comment": "ours", "unmask:mark": "yes"})
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(29.97, abs=1e-3)
        assert container.metadata["comment"] == "ours" and container.metadata["unmask:mark"] == "yes"
        back = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.abs(np.array(back).astype(int) - np.array(frames)).max() <= 8


def test_write_video_leaves_nothing_half_done(tmp_path):
    def broken():
        yield np.zeros((16, 16, 3), np.uint8)
        raise RuntimeError("camera unplugged")

    with pytest.raises(RuntimeError, match="unplugged"):
        write_video(tmp_path / "a.mp4", broken(), 25)
    with pytest.raises(ValueError, match="no frame"):
        write_video(tmp_path / "a.mp4", [], 25)
    with pytest.raises(ValueError, match="even sizes"):
        write_video(tmp_path / "a.mp4", [np.zeros((15, 16, 3), np.uint8)], 25)
    with pytest.raises(ValueError, match="frame 1 has shape"):
        write_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)], 25)
    assert not list(tmp_path.iterdir())
