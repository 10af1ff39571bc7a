"""Training on reals alone: what a self-blend changes and what it leaves, and how blends stand beside their reals."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from conftest import TINY, compose, unmask
from datamodules import from_config
from unmask.config import conf_dir
from unmask.config.check import validate
from unmask.data.blend import FIVE, PARTS, UNIT, SelfBlend, fit
from unmask.data.manifest import ManifestError
from unmask.media.align import TEMPLATE, align_matrix
from unmask.media.pictures import WholePictures
from unmask.media.recipe import FaceCrops
from unmask.runs.run import Run

OPTIONS = sorted(path.stem for path in Path(conf_dir(), "blend").glob("*.yaml"))
SIZE = 96


def landmarks(size: int = SIZE, turn: float = 0.0) -> np.ndarray:
    """The five points of a face in the middle of a picture, turned by so many degrees."""
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), turn, 1.0)
    points = ((FIVE - 0.5) / 1.5 + 0.5) * size
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def picture(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Soft blobs of colour with grain [3, S, S]."""
    rng = np.random.default_rng(seed)
    blobs = cv2.resize(rng.uniform(40, 210, (6, 6, 3)), (size, size), interpolation=cv2.INTER_CUBIC)
    return (blobs + rng.normal(0, 6, blobs.shape)).clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


# -- one blend


@pytest.mark.parametrize("parts", [["whole"], ["eyes", "nose", "mouth"]])
def test_a_blend_differs_from_its_real_only_inside_the_mask(parts):
    blend, photo, changed = SelfBlend(parts=parts), picture(), 0
    for seed in range(40):
        real, fake, mask = blend(photo, landmarks(), np.random.default_rng(seed))
        assert real.dtype == fake.dtype == np.uint8 and real.shape == fake.shape == photo.shape
        assert mask.shape == (1, SIZE, SIZE) and mask.dtype == np.float32 and 0 <= mask.min() <= mask.max() <= 1
        outside = mask[0] == 0
        assert 0.2 < outside.mean() < 1 and np.array_equal(real[:, outside], fake[:, outside])
        assert not np.array_equal(real[:, ~outside], fake[:, ~outside])
        changed += not np.array_equal(real, photo)
    assert 10 <= changed <= 30, "the real is the changed one half of the time, so that change alone tells nothing"


def test_a_blend_is_the_weighted_mean_of_two_copies():
    """With nothing drawn but the ratio, the blend of a photograph with itself is the photograph."""
    still = {"rgb": 0, "hsv": (0, 0, 0), "brightness": 0, "contrast": 0, "sharpen": (0, 0), "downscale": (1, 1)}
    photo = picture()
    for seed in range(6):
        real, fake, _ = SelfBlend(**still, shift=(0, 0), scale=1)(photo, landmarks(), np.random.default_rng(seed))
        assert np.abs(real.astype(int) - photo).max() <= 1 and np.abs(fake.astype(int) - photo).max() <= 1
    # A brighter copy: the difference to the real is the shift times ratio times mask, darker or brighter.
    grey, seen = np.full((3, SIZE, SIZE), 100, np.uint8), set()
    for seed in range(60):
        blend = SelfBlend(**still | {"brightness": 0.2}, shift=(0, 0), scale=1)
        real, fake, mask = blend(grey, landmarks(), np.random.default_rng(seed))
        difference = fake[0].astype(float) - real[0]
        full = np.median(difference[mask[0] > 0.999]) if (mask > 0.999).any() else np.nan
        other = 100 - float(real[0, 0, 0])  # where the real was changed, the photograph is what goes in
        if other and abs(other) > 12:
            seen.add(round(full / other * 4) / 4)
        expected = full * mask[0]
        if np.isfinite(full):
            np.testing.assert_allclose(difference, expected, atol=1.2 + 0.02 * abs(full))
    assert seen == {0.25, 0.5, 0.75, 1.0}, "the paper's ratios"


def test_one_draw_for_a_clip_whose_mask_follows_the_face():
    photo, rng = picture(), np.random.default_rng
    clip = np.stack([photo, photo, np.roll(photo, 7, axis=2)])
    points = np.stack([landmarks(), landmarks(), landmarks() + np.float32([7, 0])])
    real, fake, mask = SelfBlend()(clip, points, rng(3))
    assert real.shape == fake.shape == (3, 3, SIZE, SIZE) and mask.shape == (3, 1, SIZE, SIZE)
    for made in (real, fake, mask):
        assert np.array_equal(made[0], made[1]), "one draw"
    np.testing.assert_allclose(mask[2, 0, :, 7:], mask[0, 0, :, :-7], atol=0.02)
    alone = SelfBlend()(photo, landmarks(), rng(3))
    for made, single in zip((real, fake, mask), alone, strict=True):
        assert np.array_equal(made[0], single), "a clip's frame is blended as a picture is"
    assert not np.array_equal(SelfBlend()(photo, landmarks(), rng(4))[1], alone[1])


@pytest.mark.parametrize("turn", [0, 25, -90])
def test_a_mask_lies_where_the_face_does(turn):
    """Against OpenCV's own rotation: parts drawn without deformation cover their landmarks, whichever way up."""
    points = landmarks(turn=turn)
    for part, inside, outside in (("eyes", [0, 1], [3, 4]), ("mouth", [3, 4], [0, 1, 2]), ("nose", [2], [0, 1, 3, 4])):
        shape = SelfBlend(parts=[part], elastic=0.0, soften=(0.02, 0.02)).shape(np.random.default_rng(0))
        mask = fit(shape, points, SIZE)
        for which in (0, 1, 2, 3, 4):
            x, y = np.rint(points[which]).astype(int)
            assert mask[y, x] > 0.9 or which not in inside
            assert mask[y, x] == 0 or which not in outside
    dot = np.zeros((round(1.5 * UNIT),) * 2, np.float32)
    x, y = np.rint((FIVE[2] + 0.25) * UNIT).astype(int)
    cv2.circle(dot, (int(x), int(y)), 6, 1.0, -1)
    found = np.argwhere(fit(dot, points, SIZE) > 0.5).mean(0)[::-1]
    np.testing.assert_allclose(found, points[2], atol=1)


def test_the_mean_face_is_a_face():
    assert np.array_equal(FIVE, TEMPLATE), "the same five points as alignment has"
    hull = cv2.convexHull(PARTS["whole"])
    distance = [cv2.pointPolygonTest(hull, tuple(map(float, point)), True) for point in FIVE]
    assert min(distance) > 0.12
    for part in ("eyes", "nose", "mouth"):
        assert all(cv2.pointPolygonTest(hull, tuple(map(float, p)), True) > -0.01 for p in PARTS[part])
    for outline in PARTS.values():
        np.testing.assert_allclose(sorted(outline[:, 0]), sorted(1 - outline[:, 0]), atol=1e-6)
    areas = [SelfBlend(forehead=high).shape(np.random.default_rng(1)).sum() for high in (0.0, 1.0)]
    assert areas[1] > 1.1 * areas[0]


def test_a_mask_covers_the_face_of_a_photograph(shared_data):
    """By the colour of skin in YCrCb: nearly all of the mask is skin, and the five points are in it."""
    recipe = FaceCrops(crop_size=160)
    crops = recipe(shared_data / "face_photos/paul_rudd.jpg")
    points = recipe.landmarks_in_crop(crops.box, crops.landmarks)[0]
    mask = fit(SelfBlend(elastic=0.0).shape(np.random.default_rng(0)), points, 160)
    assert all(mask[int(y), int(x)] > 0.9 for x, y in points)
    face = cv2.cvtColor(crops.pixels[0].transpose(1, 2, 0), cv2.COLOR_RGB2YCrCb)[mask > 0.5]
    skin = (face[:, 1] > 133) & (face[:, 1] < 173) & (face[:, 2] > 77) & (face[:, 2] < 127)
    assert skin.mean() > 0.8


def test_an_unknown_part_is_named():
    with pytest.raises(ValueError, match=r"data\.blend\.parts=ear: expected one of eyes, nose, mouth"):
        SelfBlend(parts=["ear"])


# -- data sets of reals and their blends


@pytest.fixture(scope="module")
def settings(demo_root, workplace):
    return ["data=demo_celebdf", f"data.root={demo_root}", f"data.prepared={workplace / 'outputs/prepared'}", *TINY]


def build(*overrides: str):
    data = from_config(compose("train", [*overrides, "paths.out=out"]))
    data.setup("fit")
    return data


def test_reals_and_their_blends_fill_training_and_validation(settings):
    plain, data = (
        build(*settings),
        build(*settings, "blend@data.blend=sbi", "data.sampling.balance=pairs", "data.batch_size=4"),
    )
    for split in ("train", "val"):
        samples, table = data.samples[split], data.samples[split].table
        num = len(samples) // 2
        assert list(table["item"][:num] + "#blend") == list(table["item"][num:])
        assert set(table["item"][:num]) == set(plain.samples[split].table.query("label == 0")["item"])
        assert samples.labels.tolist() == [0] * num + [1] * num == table["label"].tolist()
        assert set(table["method"][:num]) == {"real"} and set(table["method"][num:]) == {"self-blend"}
        assert samples.sources().tolist() == [-1] * num + list(range(num))
    assert data.samples["test"].table.equals(plain.samples["test"].table), "tested on the data set's own fakes"
    batch = next(iter(data.train_dataloader()))
    for at in (0, 2):
        assert batch["y"][at : at + 2].tolist() == [1, 0]
        same = (batch["x"][at] == batch["x"][at + 1]).all(0)
        assert 0.15 < same.float().mean() < 1, "a blend beside its own frame"


def test_draws_are_counted_and_validation_never_changes(settings):
    data = build(*settings, "blend@data.blend=sbi")
    train, val = data.samples["train"], data.samples["val"]
    num = len(train) // 2
    once, again = (train.__getitems__([(1, 0), (1, num), (1, 1)]) for _ in range(2))
    assert torch.equal(once["x"], again["x"]) and once["index"].tolist() == [0, num, 1]
    assert torch.equal(train.__getitems__([(1, num)])["x"][0], once["x"][1]), "whatever else is in the batch"
    assert not torch.equal(train.__getitems__([(2, num)])["x"][0], once["x"][1])
    other = build(*settings, "blend@data.blend=sbi", "seed=1").samples
    assert not torch.equal(other["train"].__getitems__([(1, num)])["x"], once["x"][1:2])
    every = [(epoch, index) for epoch in (0, 5) for index in range(len(val))]
    x = val.__getitems__(every)["x"]
    assert torch.equal(*x.chunk(2)) and torch.equal(x.chunk(2)[0], other["val"].__getitems__(every)["x"].chunk(2)[0])


def test_clips_are_blended_as_one(settings):
    data = build(*settings, "blend@data.blend=sbi", "frames=4", "data.sampling.consecutive=true")
    num = len(data.samples["train"]) // 2
    real, fake = data.samples["train"].__getitems__([(0, 0), (0, num)])["x"]
    assert real.shape == fake.shape == (4, 3, 64, 64)
    changed = (real != fake).any(1)  # [T, S, S]
    # A face moves little in a tenth of a second, and its mask with it.
    overlap = (changed[0] & changed[3]).sum() / (changed[0] | changed[3]).sum()
    assert changed.any((1, 2)).all() and overlap > 0.7


def test_masks_show_what_was_blended(settings):
    data = build(*settings, "blend@data.blend=parts", "data.loader.masks=true")
    samples = data.samples["train"]
    num = len(samples) // 2
    batch = samples.__getitems__([(0, index) for index in (*range(num), *range(num, 2 * num))])
    assert batch["mask"].shape == (2 * num, 1, 64, 64) and batch["mask"].dtype == torch.uint8
    real, blended = batch["mask"].chunk(2)
    assert not real.any() and set(blended.unique().tolist()) == {0, 255} and (blended > 0).any((1, 2, 3)).all()
    differs = (batch["x"][:num] != batch["x"][num:]).any(1, keepdim=True)
    assert (differs & (blended > 0)).sum() > 0.8 * (blended > 0).sum()


def test_pictures_without_landmarks_say_how_to_get_them(settings, tmp_path, demo_root):
    data = build(*settings)
    frame = data.samples["train"].__getitems__([(0, 0)])["x"][0].permute(1, 2, 0).numpy()
    for split in ("train", "val", "test"):
        for kind in ("real", "fake"):
            folder = tmp_path / "pictures" / split / kind
            folder.mkdir(parents=True)
            for number in range(2):
                shade = len(list(tmp_path.rglob("*.png")))  # no picture twice
                Image.fromarray(frame // 2 + np.uint8(shade)).save(folder / f"{number}.png")
    given = [
        "data=folder",
        f"data.root={tmp_path / 'pictures'}",
        "data/recipe=pictures",
        "data.split.protocol=predefined",
    ]
    given += [
        "data.recipe.crop_size=64",
        f"data.prepared={tmp_path}",
        "image_size=64",
        "data.split.allow_duplicates=true",
    ]
    unmask("prepare", *given, "prepare.num_workers=0", cwd=tmp_path)
    with pytest.raises(ManifestError, match=r"2 of 2 crops have no landmarks.*data\.recipe\.landmarks=true"):
        build(*given, "blend@data.blend=sbi")
    assert len(build(*given).samples["train"]) == 4, "without blends they are not missed"


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_valid_and_reaches_every_data_set(option):
    for data in ("celebdf_v2", "folder"):
        cfg = compose("train", [f"data={data}", f"blend@data.blend={option}", "data.root=x", "paths.out=out"])
        validate(cfg)
        made = from_config(cfg)
        assert (made.blend is None) == (option == "none")


def test_a_split_without_reals_is_an_error(settings):
    with pytest.raises(ManifestError, match=r"the val split contains 0 real items but needs at least one"):
        build(*settings, "blend@data.blend=sbi", "data.split.val_fraction=0")


# -- the whole way


@pytest.mark.slow
def test_a_detector_that_never_saw_a_fake_is_trained_scored_and_told_of(workplace, demo_root):
    small = (*TINY, "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=8")
    given = ["experiment=demo_celebdf/sbi", "name=blends", f"data.root={demo_root}", *small]
    unmask("train", *given, cwd=workplace)
    (folder,) = (workplace / "outputs/blends").iterdir()
    run = Run(folder)
    val, test = run.predictions("val"), run.predictions("test")
    assert set(val["method"]) == {"real", "self-blend"} and val["logit"].notna().all()
    assert set(test["method"]) == {"real", "faceswap", "resynthesis", "temporal"}
    pairs = val["item"].str.removesuffix("#blend")
    assert pairs.nunique() == val["item"].nunique() / 2
    for table in (val, test):
        assert table.attrs["protocol"]["Training"] == "only real items, self-blended (arXiv 2204.08376)"
    assert "and their self-blends" in val.attrs["protocol"]["Data"]
    assert "fake videos" in test.attrs["protocol"]["Data"]
    # Scored again, on its own data and on the same as if it were another's: the blends' settings come with the run.
    unmask("evaluate", f"run={folder}", "split=val", "trainer=cpu", cwd=workplace)
    again = Run(folder).predictions("val")
    pd.testing.assert_frame_equal(val.drop(columns="logit"), again.drop(columns="logit"))
    np.testing.assert_allclose(val["logit"], again["logit"], atol=1e-4)
    other = ["data=demo_celebdf", f"data.root={demo_root}", "trainer=cpu"]
    unmask("evaluate", f"run={folder}", *other, cwd=workplace)
    np.testing.assert_allclose(Run(folder).predictions("test")["logit"], test["logit"], atol=1e-4)


def test_both_recipes_find_landmarks_for_blends():
    for recipe in (FaceCrops(crop_size=50), WholePictures(50)):
        box, points = np.float32([[0, 0, 100, 100]]), np.float32([[[10, 20]] * 5])
        assert recipe.landmarks_in_crop(box, points).shape == (1, 5, 2)
    moved = FaceCrops(crop_size=100, align=True).landmarks_in_crop(np.float32([[0, 0, 9, 9]]), landmarks()[None])
    matrix = align_matrix(landmarks(), 100, 0.3)
    np.testing.assert_allclose(moved[0], landmarks() @ matrix[:, :2].T + matrix[:, 2], atol=1e-3)
