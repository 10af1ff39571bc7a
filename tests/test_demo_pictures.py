"""Rendered portraits in CelebA's layout and forged paintings in DeepfakeArt's."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import unmask
from datamodules import DataOf
from unmask.data.audit import audit
from unmask.data.manifest import STATISTIC, items_table
from unmask.datasets.celeba import CelebA
from unmask.datasets.deepfakeart import DeepfakeArt
from unmask.demo import render_paintings, render_portraits
from unmask.demo.paint import SIZE
from unmask.demo.paintings import region
from unmask.demo.people import Person
from unmask.demo.portraits import ATTRIBUTES, Expression, attributes, plan, shoot
from unmask.demo.scenes import Scene
from unmask.media.pictures import WholePictures
from unmask.media.probe import file_statistics, frame_statistics
from unmask.provenance import RENDERED, read_marks

PORTRAITS, PAINTINGS = 50, 6


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def portraits(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "demo_celeba"
    render_portraits(root, portraits=PORTRAITS, workers=1)
    return root


@pytest.fixture(scope="module")
def paintings(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "demo_deepfakeart"
    render_paintings(root, paintings=PAINTINGS, workers=1)
    return root


@pytest.fixture(scope="module")
def persons() -> list[Person]:
    return [Person([0, 11, number]) for number in range(12)]


def test_the_layout_is_celeba_s(portraits):
    names = [f"{number:06d}.jpg" for number in range(1, PORTRAITS + 1)]
    lists = {"list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt", "demo.json"}
    assert set(files(portraits)) == lists | {f"img_align_celeba/{name}" for name in names}
    assert {Image.open(portraits / "img_align_celeba" / name).size for name in names} == {(178, 218)}
    count, head, *rows = (portraits / "list_attr_celeba.txt").read_text().splitlines()
    assert int(count) == len(rows) == PORTRAITS and head.split() == ATTRIBUTES and len(ATTRIBUTES) == 40
    assert [row.split()[0] for row in rows] == names
    assert {len(row.split()) for row in rows} == {41} and {v for row in rows for v in row.split()[1:]} == {"-1", "1"}
    splits = [line.split() for line in (portraits / "list_eval_partition.txt").read_text().splitlines()]
    assert [name for name, _ in splits] == names and [s for _, s in splits] == ["0"] * 40 + ["1"] * 5 + ["2"] * 5


def test_the_reader_of_celeba_reads_them_and_no_person_is_in_two_splits(portraits, tmp_path):
    reader = DataOf(CelebA("demo_celeba", portraits), tmp_path, WholePictures(), protocol="predefined")
    items = reader.manifest()
    assert items["split"].value_counts().to_dict() == {"train": 40, "val": 5, "test": 5}
    assert items.explode("groups").groupby("groups")["split"].nunique().max() == 1
    assert items["groups"].str[0].nunique() == PORTRAITS // 5
    assert items["attribute.Smiling"].nunique() == 2


def test_attributes_are_those_of_the_person(persons):
    for who in persons:
        known = attributes(who, Expression(smiling=True, open=False))
        assert set(known) <= set(ATTRIBUTES) and "Male" not in known
        assert known["Smiling"] and not known["Mouth_Slightly_Open"]
        assert known["Eyeglasses"] == who.glasses and known["No_Beard"] != who.bearded
        colours = [known[name] for name in ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")]
        assert sum(colours) <= 1 and not (known["Bald"] and any(colours))
        assert known["Young"] == (who.looks.age <= 0.55)
    worn = [attributes(who, Expression(False, False)) for who in persons]
    for name in ("Eyeglasses", "No_Beard", "Young", "Wavy_Hair", "Black_Hair"):
        assert len({known[name] for known in worn}) == 2, name


def test_glasses_are_where_the_attribute_says(persons):
    """The bridge of the glasses covers the face between the eyes; nothing else does."""
    for who in persons:
        middle = who.front.shape[0] // 2
        row = int((who.looks.eye.y - 0.01) / 1.25 * middle + middle)
        assert (who.front[row - 2 : row + 3, middle, 3].max() > 0.5) == who.glasses


def test_an_expression_changes_the_mouth_alone(persons):
    who, scene = persons[3], Scene([1, 2], 1, 1.0)

    def look(smiling: bool, opened: bool) -> np.ndarray:
        expression = Expression(smiling, opened)
        return shoot(who, expression, scene, scene.poses[0], np.random.default_rng(0)).astype(int)

    still = who.looks
    plain, smile, talk = look(False, False), look(True, False), look(False, True)
    assert who.looks is still
    for other in (smile, talk):
        change = cv2.GaussianBlur(np.abs(other - plain).max(2).astype(np.float32), (0, 0), 2)  # over the grain
        assert change[130:185, 60:120].max() > 25  # CelebA's mouth corners lie at (73, 152) and (106, 152)
        assert max(change[:90].max(), change[205:].max()) < 15


def test_eyes_lie_where_celeba_has_them(persons):
    """The darkest spots, pupils and lashes, lie about (69, 111) and (108, 111)."""
    for number, who in enumerate(persons[:6]):
        if who.glasses:
            continue
        scene = Scene([5, number], 1, 1.0)
        picture = shoot(who, Expression(False, False), scene, scene.poses[0], np.random.default_rng(0)).mean(2)
        for x in (69, 108):
            box = picture[111 - 9 : 111 + 10, x - 13 : x + 14]
            rows, columns = np.nonzero(box <= np.quantile(box, 0.06))
            assert abs(columns.mean() - 13) < 5 and abs(rows.mean() - 9) < 5


def test_half_done_work_goes_on_and_workers_decide_no_byte(portraits, paintings, tmp_path):
    before = files(portraits), files(paintings)
    lost = [
        portraits / "img_align_celeba" / "000004.jpg",
        paintings / "similar" / "inpainting" / "2" / "inpainting.png",
    ]
    kept = {p: p.stat().st_mtime_ns for p in portraits.rglob("*") if p.is_file() and p not in lost}
    for path in lost:
        path.unlink()
    render_portraits(portraits, portraits=PORTRAITS, workers=1)
    render_paintings(paintings, paintings=PAINTINGS, workers=1)
    assert (files(portraits), files(paintings)) == before
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    render_paintings(tmp_path / "two", paintings=PAINTINGS, workers=2)
    assert files(tmp_path / "two") == before[1]


def test_other_arguments_are_refused(portraits, paintings, tmp_path):
    with pytest.raises(ValueError, match="seed: expected 1, found 0"):
        render_portraits(portraits, portraits=PORTRAITS, seed=1)
    with pytest.raises(ValueError, match=r"difficulty: expected 0\.9, found 0\.5"):
        render_paintings(paintings, paintings=PAINTINGS, difficulty=0.9)
    with pytest.raises(ValueError, match="portraits=42"):
        render_portraits(tmp_path / "new", portraits=42)
    with pytest.raises(ValueError, match="paintings=3"):
        render_paintings(tmp_path / "new", paintings=3)
    assert not (tmp_path / "new").exists()


def test_a_person_s_pictures_lie_apart_but_in_one_split():
    every = plan(600, 0)
    assert len({one.person for one in every}) == 120
    gaps = pd.Series([one.number for one in every]).groupby([one.person for one in every]).agg(np.ptp)
    assert gaps.median() > 30


def test_the_layout_is_deepfakeart_s(paintings, tmp_path):
    reader = DataOf(
        DeepfakeArt("demo_deepfakeart", paintings), tmp_path, WholePictures(masks=True), protocol="predefined"
    )
    items = reader.manifest()
    assert len(items) == 2 * PAINTINGS and (items[items["label"] == 1]["mask"].notna()).all()
    assert set(items["method"]) == {"real", "inpainting"} and (items["split"] == "test").sum() == 2 * 2
    lists = [json.loads((paintings / "similar" / f"{split}_similar.json").read_text()) for split in ("train", "test")]
    assert sorted(int(n) for listed in lists for n in listed["inpainting"]) == list(range(PAINTINGS))


def test_a_forgery_differs_within_its_mask_only(paintings):
    for number in range(PAINTINGS):
        folder = paintings / "similar" / "inpainting" / str(number)
        original, forged = (read(folder / f"{kind}.png").astype(int) for kind in ("original", "inpainting"))
        white = read(folder / "mask.png") > 127
        assert original.shape == (SIZE, SIZE, 3) and 0.1 < white.mean() < 0.52
        assert np.array_equal(forged[~white], original[~white])
        assert np.abs(forged - original)[white].mean() > 3


def test_regions_are_of_the_promised_size():
    shares = [region(np.random.default_rng(seed)).mean() for seed in range(80)]
    assert 0.11 < min(shares) and max(shares) < 0.51 and np.ptp(shares) > 0.25


def test_every_file_carries_the_same_mark(portraits, paintings):
    marks = [read_marks(p) for p in [*portraits.rglob("*.jpg"), *paintings.rglob("*.png")]]
    assert {mark["digitalSourceType"].rpartition("/")[2] for mark in marks} == {RENDERED}
    assert {mark["comment"] for mark in marks} == {"synthetic: rendered by unmask demo"}
    assert {mark["synthetic"] for mark in marks} == {"true"}


@pytest.mark.slow
def test_files_do_not_tell_real_from_forged(tmp_path):
    """The shortcut audit on the default set's first paintings: size, format and colours give nothing away."""
    render_paintings(tmp_path / "set", paintings=40, workers=2)
    reader = DataOf(DeepfakeArt("demo_deepfakeart", tmp_path / "set"), tmp_path, WholePictures(), protocol="predefined")
    items = items_table(reader.find_items())
    paths = [tmp_path / "set" / path for path in items["path"]]
    statistics = [file_statistics(path) | frame_statistics(read(path)[None]) for path in paths]
    result = audit(items.join(pd.DataFrame(statistics).add_prefix(STATISTIC)))
    assert result["passed"], result


@pytest.mark.slow
def test_the_verb_renders_all_sets_beside_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # here, in no other process
    given = (
        "people=6",
        "test_people=3",
        "frames=4",
        "portraits=50",
        "paintings=4",
        "voices=6",
        "talkers=2",
        "render_only=true",
    )
    unmask("demo", f"root={tmp_path / 'data' / 'demo_celebdf'}", *given, cwd=tmp_path)
    counts = {folder.name: len(files(folder)) for folder in (tmp_path / "data").iterdir()}
    assert counts == {
        "demo_celebdf": 38 + 3, "demo_celeba": 50 + 4, "demo_deepfakeart": 3 * 4 + 3, "demo_voices": 6 * 16 + 4,
        "demo_talking": 2 * 8 + 2,
    }  # fmt: skip
    unmask("demo", f"root={tmp_path / 'own' / 'demo_celebdf'}", *given[:3], "portraits=0", "paintings=0",
           "voices=0", given[-1], cwd=tmp_path)  # fmt: skip
    assert [folder.name for folder in (tmp_path / "own").iterdir()] == ["demo_celebdf"]
