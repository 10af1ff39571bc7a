"""Several faces in one file: a mask says which of them was changed, and a face that it never touches is not a fake."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from unmask.data.audit import audit
from unmask.data.dataset import CropDataset, Sampling
from unmask.data.manifest import Item, items_table
from unmask.data.prepare import prepare
from unmask.media.encode import write_video
from unmask.media.find import Faces
from unmask.media.kinds import MediaError
from unmask.media.reader import open_media
from unmask.media.recipe import FaceCrops
from unmask.media.track import all_faces, associate, changed
from unmask.reporting.gather import Strips

RECIPE = {"frames": 4, "burst": 4, "crop_size": 64}
COUNT = 6  # frames of a clip


def panels(root: Path) -> list[np.ndarray]:
    """Two rendered people, the second at two thirds of the size: frames [N, H, W, 3] of both, of one height."""
    clips = [open_media(path).read(list(range(COUNT))) for path in sorted(root.glob("Celeb-real/*.mp4"))[::3][:2]]
    height, width = clips[1].shape[1:3]
    small = np.full_like(clips[1], 120)
    size = (2 * width // 3, 2 * height // 3)
    small[:, : size[1], : size[0]] = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in clips[1]]
    return [clips[0], small]


@pytest.fixture(scope="module")
def pair(demo_root, tmp_path_factory) -> tuple[Path, int]:
    """A folder with a large face on the left and a smaller one on the right; the column where the right half begins.

    `right.mp4` is a mask of the right half, `left.mp4` of the left, `black.mp4` of nothing, `right.png` a picture of
    the first; `short.mp4` ends too early.
    """
    place = tmp_path_factory.mktemp("pair")
    left, right = panels(demo_root)
    write_video(place / "two.mp4", list(np.concatenate([left, right], axis=2)), fps=25, crf=8)
    masks = {name: np.zeros((COUNT, left.shape[1], 2 * left.shape[2], 3), np.uint8) for name in ("left", "right")}
    middle = left.shape[2]
    masks["left"][:, :, :middle] = masks["right"][:, :, middle:] = 255
    masks |= {"black": 0 * masks["left"], "short": masks["right"][:2]}
    for name, mask in masks.items():
        write_video(place / f"{name}.mp4", list(mask), fps=25)
    cv2.imwrite(str(place / "right.png"), masks["right"][0])
    return place, middle


def centres(crops) -> dict[int, float]:
    """The mean horizontal centre of each track, px."""
    middle = (crops.box[:, 0] + crops.box[:, 2]) / 2
    return {int(track): float(middle[crops.track == track].mean()) for track in np.unique(crops.track)}


@pytest.mark.parametrize("faces", ["main", "all"])
@pytest.mark.parametrize("mask", ["right.mp4", "right.png"])
def test_the_face_of_a_fake_is_the_one_that_its_mask_touches(pair, faces, mask):
    place, middle = pair
    without = FaceCrops(**RECIPE, faces="all")(place / "two.mp4")
    assert len(centres(without)) == 2 and centres(without)[0] < middle < centres(without)[1]
    crops = FaceCrops(**RECIPE, faces=faces)(place / "two.mp4", place / mask)
    assert crops.masks is None, "the mask chooses the face, whether or not the recipe keeps masks"
    assert set(crops.track) == {0} and crops.notes["untouched_faces"] == 1
    np.testing.assert_array_equal(crops.pixels, without.pixels[without.track == 1])
    np.testing.assert_array_equal(crops.box, without.box[without.track == 1])


def test_a_segmenter_is_given_the_face_with_white_in_its_mask(pair):
    place, _ = pair
    crops = FaceCrops(**RECIPE, masks=True)(place / "two.mp4", place / "right.mp4")
    assert crops.masks.shape == (4, 1, 64, 64) and (crops.masks > 0).mean() > 0.9
    crops = FaceCrops(**RECIPE, masks=True)(place / "two.mp4")
    assert not crops.masks.any() and "untouched_faces" not in crops.notes


@pytest.mark.parametrize("faces", ["main", "all"])
@pytest.mark.parametrize(
    ("mask", "reason"), [("black.mp4", "its mask touches none of the faces"), ("short.mp4", "the mask short.mp4: ")]
)
def test_a_fake_without_a_changed_face_is_set_aside(pair, faces, mask, reason):
    place, _ = pair
    with pytest.raises(MediaError, match=reason):
        FaceCrops(**RECIPE, faces=faces)(place / "two.mp4", place / mask)


def test_the_store_holds_no_untouched_face_of_a_fake(pair, tmp_path):
    """Through `prepare`: of a real file every face, of a fake the changed ones, and a black mask is a rejection."""
    place, middle = pair
    made = {"right": "right.mp4", "left": "left.mp4", "black": "black.mp4"}
    items = items_table(
        [
            Item("d/real/two", "two.mp4", 0, "real", mask="black.mp4"),  # as some data sets give of real pictures
            *(Item(f"d/swap/{name}", "two.mp4", 1, "swap", mask=mask) for name, mask in made.items()),
        ]
    )
    with pytest.warns(UserWarning, match="1 of 4 items could not be prepared"):
        store = prepare(items, place, tmp_path / "store", FaceCrops(**RECIPE, faces="all"), num_workers=0)
    rejected = pd.read_csv(tmp_path / "store/rejected.csv")
    assert rejected["item"].tolist() == ["d/swap/black"] and "touches none of the faces" in rejected["rejected"].item()
    boxes = {name: np.stack(rows["box"]) for name, rows in store.crops.groupby("item")}
    found = {name: sorted({bool(x > middle) for x in (box[:, 0] + box[:, 2]) / 2}) for name, box in boxes.items()}
    assert found == {"d/real/two": [False, True], "d/swap/left": [False], "d/swap/right": [True]}
    used = store.items[store.items["rejected"].isna()]
    table = CropDataset(store, used, Sampling(frames_per_video=4)).table
    assert table.groupby("item")[["track", "label"]].nunique().loc["d/real/two"].tolist() == [2, 1]
    assert table.loc[table["label"] == 1].groupby("item").size().tolist() == [4, 4]
    page = Strips([])
    page.stores = [store]
    rows, pixels = store.of_item("d/real/two", [2])
    for track in (0, 1):  # a face stands at its own score in a report
        (shown,) = page("d/real/two", [2], track)
        np.testing.assert_array_equal(shown.transpose(2, 0, 1), pixels[rows["track"] == track][0])
    known = store.items.set_index("item")["untouched_faces"]
    assert known.isna().to_dict() == {name: "swap" not in name or "black" in name for name in known.index}
    assert known.dropna().tolist() == [1, 1]
    assert "untouched_faces" not in audit(store.items)["features"], "only fakes have it: it would give the label away"


# ---- by hand


def detected(*boxes) -> Faces:
    box = np.array(boxes, np.float32).reshape(-1, 4)
    return Faces(box, np.full(len(box), 0.99, np.float32), np.zeros((len(box), 5, 2), np.float32))


BIG, SMALL = (0, 0, 100, 100), (120, 0, 160, 50)


@pytest.mark.parametrize(
    ("white", "kept"),
    [
        (np.s_[0:50, 120:160], [SMALL]),  # the whole box
        (np.s_[0:5, 120:124], [SMALL]),  # 20 of 2,000 px: 1 %
        (np.s_[0:4, 120:124], []),  # 16 of them
        (np.s_[0:100, 90:160], [SMALL]),  # all of the small one; of the big one 10 %, which it bleeds into
        (np.s_[0:100, 70:160], [BIG, SMALL]),  # 30 % of it
        (np.s_[0:0, 0:0], []),
    ],
)
def test_how_much_of_a_box_counts(white, kept):
    masks = np.zeros((3, 100, 200), bool)
    masks[1][white] = True  # in one frame of three
    touched, untouched = changed(associate([detected(BIG, SMALL)] * 3), masks)
    assert [tuple(track.boxes[0].astype(int)) for track in touched] == kept
    assert len(touched) + len(untouched) == 2


def test_a_box_beyond_the_frame_is_judged_by_what_is_seen_of_it():
    masks = np.ones((1, 100, 100), bool)
    tracks = associate([detected((-300, -300, 5, 5), (500, 500, 600, 600))])
    touched, untouched = changed(tracks, masks)
    assert [track.boxes[0][0] for track in touched] == [-300] and [t.boxes[0][0] for t in untouched] == [500]


def test_another_face_that_jumps_is_one_face_too():
    """Frames that lie seconds apart: the second person's track breaks, as the main one's does."""
    found = [detected((0, 0, 100, 100), (200 + 70 * (t % 2), 0, 250 + 70 * (t % 2), 60)) for t in range(6)]
    found[0] = detected((0, 0, 100, 100), (200, 0, 250, 60), (400, 0, 450, 60))  # seen once
    faces, brief = all_faces(associate(found, max_gap=0), 6)
    assert [sum(len(piece.frames) for piece in face) for face in faces] == [6, 6] and brief == 1
