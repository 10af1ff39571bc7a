"""Whole pictures and their masks: read, fitted, stored, and batched."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import DataOf
from unmask.data.manifest import Item, ManifestError
from unmask.data.prepare import prepare
from unmask.data.source import Source
from unmask.data.store import StoreError
from unmask.media.encode import write_video
from unmask.media.kinds import MediaError
from unmask.media.pictures import WholePictures
from unmask.media.recipe import FaceCrops


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_picture_of_the_stored_size_stays_as_it_is(tmp_path):
    pixels = noise(64, 64)
    crops = WholePictures(64)(save(tmp_path / "a.png", pixels))
    np.testing.assert_array_equal(crops.pixels[0], pixels.transpose(2, 0, 1))
    assert crops.masks is None and np.isnan(crops.prob).all()
    assert {"width", "height", "format", "bytes"} <= crops.statistics.keys()


def test_a_picture_that_is_not_square_is_stretched_or_cut(tmp_path):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :20] = 255  # the left quarter
    path = save(tmp_path / "a.png", pixels)
    stretched = WholePictures(40)(path).pixels[0, 0]
    assert (stretched[:, :10] == 255).all() and (stretched[:, 11:] == 0).all()
    cut = WholePictures(40, fit="cut")(path)
    assert (cut.pixels == 0).all() and cut.box.tolist() == [[20, 0, 60, 40]], "the middle square is all black"
    with pytest.raises(ValueError, match="expected stretch or cut"):
        WholePictures(fit="pad")


def test_a_smaller_square_is_cut_from_the_middle(tmp_path):
    """As in papers on generators, which keep 108 to 148 px of CelebA's pictures; the default key stays as it was."""
    pixels = noise(40, 80)
    path = save(tmp_path / "a.png", pixels)
    cut = WholePictures(20, fit="cut", square=20)(path)
    np.testing.assert_array_equal(cut.pixels[0], pixels[10:30, 30:50].transpose(2, 0, 1))
    assert cut.box.tolist() == [[30, 10, 50, 30]]
    assert "square" not in WholePictures().describe() and WholePictures(fit="cut", square=20).words(64).startswith(
        "middle square of 20 px"
    )
    with pytest.raises(MediaError, match=r"it has 80x40 px: expected at least data.recipe.square=41 px"):
        WholePictures(20, fit="cut", square=41)(path)
    for wrong in ({"square": 20}, {"fit": "cut", "square": 0}):
        with pytest.raises(ValueError, match="expected fit=cut and a side of at least 1 px"):
            WholePictures(**wrong)


def test_landmarks_of_a_portrait_lie_on_its_eyes(shared_data):
    """MTCNN on the photograph itself, scaled by hand."""
    path = shared_data / "face_photos/kate_siegel.jpg"
    width, height = Image.open(path).size
    crops = WholePictures(100, landmarks=True)(path)
    found = WholePictures(100).landmarks_in_crop(crops.box, crops.landmarks)[0]
    np.testing.assert_allclose(found, crops.landmarks[0] * [100 / width, 100 / height], rtol=1e-4)
    left, right, nose, *_ = found
    assert left[0] < nose[0] < right[0] and nose[1] > left[1]


def test_landmarks_of_a_face_lie_where_the_crop_shows_them(shared_data):
    """A marker painted on a frame's nose is found at the crop's nose."""
    frame = np.asarray(Image.open(shared_data / "face_photos/kate_siegel.jpg").convert("RGB"))
    for align in (False, True):
        recipe = FaceCrops(crop_size=128, align=align)
        first = recipe.cut(frame[None], np.zeros(1, np.int64), np.zeros(1))
        x, y = first.landmarks[0, 2]
        marked = frame.copy()
        marked[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] = (0, 255, 0)
        crop = recipe._warp(marked, first.box[0], first.landmarks[0]).astype(int)
        green = np.argwhere((crop[..., 1] > 200) & (crop[..., 0] < 80) & (crop[..., 2] < 80))
        nose = recipe.landmarks_in_crop(first.box, first.landmarks)[0, 2]
        np.testing.assert_allclose(green.mean(0)[::-1], nose, atol=1.5)


class Painted(Source):
    """Originals and copies of them that were painted over where their masks are white."""

    def find_items(self):
        real = [Item(f"p/real/{n}", f"{n}.png", 0, "real", groups=(f"{n}",), official_test=n > 3) for n in range(6)]
        fake = [
            Item(f"p/paint/{n}", f"{n}f.png", 1, "paint", f"p/real/{n}", (f"{n}",), n > 3, mask=f"{n}m.png")
            for n in range(6)
        ]
        return real + fake


@pytest.fixture
def painted(tmp_path):
    for n in range(6):
        pixels, mask = noise(32, 32, n), np.zeros((32, 32), np.uint8)
        mask[4:12, 8 + n : 20] = 255
        save(tmp_path / f"raw/{n}.png", pixels)
        save(tmp_path / f"raw/{n}f.png", np.where(mask[..., None] > 0, 255 - pixels, pixels))
        save(tmp_path / f"raw/{n}m.png", mask)
    source, recipe = Painted("p", tmp_path / "raw"), WholePictures(32, masks=True)
    loader = {"image_size": 32, "masks": True, "batch_size": 4}
    sampling = {"frames_per_video": 1, "balance": "pairs"}
    return DataOf(source, tmp_path / "prepared", recipe, val_fraction=0.4, **loader, **sampling)


def test_masks_are_stored_and_come_with_their_pictures(painted):
    prepare(painted.manifest(), painted.root, painted.folder, painted.recipe, num_workers=0)
    painted.setup("fit")
    batch = next(iter(painted.train_dataloader()))
    assert batch["mask"].shape == (4, 1, 32, 32) and batch["mask"].dtype == torch.uint8
    assert set(batch["mask"].unique().tolist()) == {0, 255}
    for at in (0, 2):  # a fake beside its own source: they differ just where the mask is white
        assert batch["y"][at : at + 2].tolist() == [1, 0] and not batch["mask"][at + 1].any()
        differs = (batch["x"][at] != batch["x"][at + 1]).any(0)
        assert torch.equal(differs, batch["mask"][at, 0] > 0)


def test_a_fake_without_a_mask_is_refused_where_masks_are_wanted(painted, monkeypatch):
    items = painted.find_items()
    monkeypatch.setattr(painted.source, "find_items", lambda: [*items[:6], Item("p/paint/9", "9f.png", 1, "paint")])
    with pytest.raises(ManifestError, match=r"1 of 1 fakes have no mask, such as 9f\.png"):
        painted.manifest()


def test_a_store_without_masks_says_how_to_get_them(painted):
    painted.recipe.masks = False  # so the crops have another folder
    prepare(painted.manifest(), painted.root, painted.prepared.folder, painted.recipe, num_workers=0)
    store = painted.store
    with pytest.raises(StoreError, match=r"data\.recipe\.masks=true"):
        store.masks(np.zeros(1, int), np.zeros(1, int))


def test_a_mask_that_does_not_fit_is_a_reason(tmp_path):
    path = save(tmp_path / "a.png", noise(32, 32))
    recipe = WholePictures(32, masks=True)
    with pytest.raises(MediaError, match=r"the mask m\.png: it has 16x16 px, but its picture has 32x32"):
        recipe(path, save(tmp_path / "m.png", np.zeros((16, 16), np.uint8)))
    with pytest.raises(MediaError, match=r"the mask none\.png: no such file"):
        recipe(path, tmp_path / "none.png")
    assert not recipe(path).masks.any()


def test_the_mask_of_a_video_is_cut_as_its_face(demo_root, tmp_path):
    """A mask video that is white in the right half: the masks of its crops have one upright edge."""
    clip = next(demo_root.glob("Celeb-real/*.mp4"))
    recipe = FaceCrops(frames=2, crop_size=64, masks=True)
    half = np.zeros((256, 256, 3), np.uint8)
    half[:, 128:] = 255
    write_video(tmp_path / "mask.mp4", [half] * 12, fps=25)
    crops = recipe(clip, tmp_path / "mask.mp4")
    assert crops.masks.shape == (2, 1, 64, 64) and set(np.unique(crops.masks)) == {0, 255}
    edges = (np.diff(crops.masks[:, 0].astype(int), axis=2) > 0).argmax(2)
    for frame, box in enumerate(crops.box):
        scale = 64 / (max(box[2] - box[0], box[3] - box[1]) * 1.3)
        expected = 32 + (128 - (box[0] + box[2]) / 2) * scale
        np.testing.assert_allclose(edges[frame], expected, atol=2)
