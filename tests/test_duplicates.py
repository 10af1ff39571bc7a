"""Contradicting and repeated data: exact copies, copies saved again, and what the manifest relates."""

import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.fft import dctn

from conftest import unmask
from datamodules import DataOf
from test_data import LISTED, PATHS, tree
from test_data import module as celebdf
from unmask.data import duplicates, perceptual
from unmask.data.manifest import Item, ManifestError, check_leaks, items_table, relations
from unmask.data.prepare import prepare
from unmask.data.store import CropStore
from unmask.datasets.celeba import CelebA
from unmask.datasets.celebdf import CelebDF
from unmask.datasets.dfdc import DFDC
from unmask.datasets.folder import Folder
from unmask.media.encode import write_video
from unmask.media.pictures import WholePictures

RECIPE = WholePictures(crop_size=64)


def scene(number: int, side: int = 96) -> np.ndarray:
    """A smooth picture of its own [S, S, 3]."""
    coarse = np.random.default_rng([7, number]).uniform(30, 225, (6, 6, 3)).astype(np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def again(picture: np.ndarray, quality: int = 50, side: int | None = None, kind: str = "JPEG") -> np.ndarray:
    """The picture saved with loss, at another size before, and brought back to its own."""
    buffer, size = io.BytesIO(), picture.shape[1::-1]
    small = Image.fromarray(picture) if side is None else Image.fromarray(picture).resize((side, side))
    small.save(buffer, kind, quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB").resize(size, Image.Resampling.BICUBIC))


def thumbs(pictures) -> np.ndarray:
    return perceptual.thumbnails(np.stack([picture.transpose(2, 0, 1) for picture in pictures]))


def near(pictures) -> set[tuple[int, int]]:
    a, b, _, _ = perceptual.near(thumbs(pictures), np.arange(len(pictures)))
    return set(zip(a.tolist(), b.tolist(), strict=True))


# -- pictures


def test_the_hash_is_the_dct_of_scipy():
    small = thumbs([scene(number) for number in range(20)])
    low = dctn(small.astype(float), axes=(1, 2), norm="ortho")[:, :8, :8].reshape(20, 64)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    assert np.array_equal(np.unpackbits(perceptual.dct_hash(small).view(np.uint8).reshape(20, 8), axis=1), bits)


def test_every_pair_of_close_hashes_is_found():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 60, np.uint64)[rng.integers(0, 60, 800)]
    for _ in range(7):  # up to seven of 64 bits are flipped
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, 800, np.uint64))
    owner = np.arange(800) // 3
    bits = perceptual.distance(hashes[:, None], hashes[None])
    wanted = {(a, b) for a, b in np.argwhere(np.triu(bits <= 8, 1)).tolist() if owner[a] != owner[b]}
    pairs = [pair for found in perceptual.candidates(hashes, 8, owner) for pair in zip(*found, strict=True)]
    assert len(wanted) > 50 and {(min(pair), max(pair)) for pair in pairs} == wanted


def test_copies_are_found_and_others_are_not():
    pictures = [scene(number) for number in range(40)]
    copies = [again(pictures[0], 75), again(pictures[1], 50, 48), again(pictures[2], 35, kind="WEBP")]
    assert near(pictures + copies) == {(0, 40), (1, 41), (2, 42)}


def test_a_picture_without_contrast_is_like_no_other():
    rng = np.random.default_rng(0)
    walls = [np.clip(rng.normal(value, 3, (96, 96, 3)), 0, 255).astype(np.uint8) for value in (0, 0, 128, 128, 255)]
    assert near(walls) == set()


def test_photographs_of_faces(shared_data):
    """The limits on real faces: every copy is found, and of 300 people nobody is taken for another."""
    files = sorted(shared_data.glob("stylegan2_vs_ffhq_256/*/*"))[::2][:300]
    faces = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    assert near(faces) == set()
    kinds = [dict(quality=q) for q in (95, 75, 50)] + [dict(side=128), dict(side=64), dict(kind="WEBP")]
    copies = [again(face, **kinds[number % len(kinds)]) for number, face in enumerate(faces)]
    assert near(faces + copies) == {(number, number + len(faces)) for number in range(len(faces))}


# -- items


def store_of(root: Path, folder: Path, items: list[Item]) -> CropStore:
    return prepare(items_table(items), root, folder, RECIPE, num_workers=0)


def save(root: Path, name: str, picture: np.ndarray) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(root / name)


def clip(number: int, frames: int = 24) -> np.ndarray:
    """A video of its own: a view that moves over a smooth picture [T, 64, 64, 3]."""
    wide = scene(number, 160)
    return np.stack([wide[2 * at : 2 * at + 64, at : at + 64] for at in range(frames)])


def test_a_video_encoded_again_is_found_once(tmp_path):
    for number in range(4):
        write_video(tmp_path / f"{number}.mp4", clip(number), fps=25)
    small = np.stack([cv2.resize(frame, (48, 48)) for frame in clip(2)[8:]])  # smaller, and without its beginning
    write_video(tmp_path / "copy.mp4", small, fps=25)
    items = [Item(f"d/real/{name}", f"{name}.mp4", 0, "real", groups=(name,)) for name in ("0", "1", "2", "3", "copy")]
    store_of(tmp_path, tmp_path / "store", items)
    pairs = duplicates.read(CropStore(tmp_path / "store"))
    assert pairs[["a", "b"]].to_numpy().tolist() == [["d/real/2", "d/real/copy"]]
    assert pairs["share"].item() >= 0.4 and not pairs["related"].item()
    assert (tmp_path / "store/duplicates.csv").read_text().count("\n") == 2


def test_crops_are_thinned_evenly(monkeypatch):
    crops = pd.DataFrame({"item": np.repeat(["a", "b"], [100, 5]), "offset": np.r_[:100, :5]})
    assert len(duplicates._thinned(crops)) == 105
    monkeypatch.setattr(duplicates, "MOST", 20)
    kept = duplicates._thinned(crops)
    assert kept["item"].value_counts().to_dict() == {"a": 10, "b": 5}
    assert set(np.diff(kept.loc[kept["item"] == "a", "offset"])) == {10}


def test_what_the_manifest_relates():
    related = relations(
        items_table(
            [
                Item("s", "s", 0, "real", groups=("p",)),
                Item("f", "f", 1, "x", source="s", groups=("q",)),
                Item("g", "g", 1, "x", source="s", groups=("r",)),
                Item("h", "h", 1, "x", groups=("r", "p")),
                Item("i", "i", 0, "real"),
            ]
        )
    )
    assert related("s", "f") and related("f", "g") and related("g", "h") and related("h", "s")
    assert not related("f", "h") and not related("i", "s") and not related("i", "f")


# -- data sets


def folder_of(root: Path, **options) -> DataOf:
    options = {"protocol": "predefined", "frames_per_video": 1, "image_size": 32, **options}
    return DataOf(Folder("own", root), root.parent / "prepared", RECIPE, **options)


def divided(root: Path) -> DataOf:
    """Six real and six fake pictures in each split, none like another."""
    names = [f"{s}/{k}/{s}{k}{n}.png" for s in ("train", "val", "test") for k in ("real", "fake") for n in range(6)]
    for number, name in enumerate(names):
        save(root, name, scene(number))
    return folder_of(root)


def ready(data: DataOf) -> DataOf:
    prepare(data.manifest(), data.root, data.folder, data.recipe, num_workers=0, rerun=True)
    data.setup("fit")
    return data


def test_a_copy_in_two_splits_is_refused_unless_it_is_allowed(tmp_path):
    data = divided(tmp_path / "d")
    assert not len(ready(data).duplicates) and "Duplicates" not in data.protocol_words("test")
    save(data.root, "test/real/copy.jpg", again(scene(0)))
    with pytest.raises(ManifestError) as refused:
        ready(folder_of(data.root))
    message = str(refused.value)
    assert "1 pair of unrelated items look alike but are in different splits" in message
    assert "own/real/test/copy (test) and own/real/train/trainreal0 (train): " in message
    assert "of 64 hash bits differ" in message and "accept them with data.split.allow_duplicates=true" in message
    allowed = folder_of(data.root, allow_duplicates=True)
    allowed.setup("fit")
    assert allowed.duplicates[["split_a", "split_b"]].to_numpy().tolist() == [["test", "train"]]
    words = allowed.protocol_words("test")["Duplicates"]
    assert (
        "1 not known to be related; of these, 1 in different splits, accepted by data.split.allow_duplicates=true and 0"
        in words
    )


def test_pairs_that_the_manifest_relates_are_reported_only(tmp_path):
    data = divided(tmp_path / "d")
    save(data.root, "test/fake/trainreal0.png", again(scene(0)))  # the name is the group
    words = ready(folder_of(data.root)).protocol_words("test")["Duplicates"]
    assert words == "1 pair of similar items: 1 related (a fake and its original, or items of one group)"


def test_an_unlisted_source_within_a_split_is_reported(tmp_path):
    data = divided(tmp_path / "d")
    save(data.root, "train/fake/of.png", again(scene(0)))
    words = ready(folder_of(data.root)).protocol_words("train")["Duplicates"]
    assert "1 not known to be related; of these, 0 in different splits and 1 of one real and one fake item" in words


@pytest.mark.slow
def test_dealt_splits_keep_copies_together(tmp_path):
    for kind in ("real", "fake"):
        for number in range(12):
            save(tmp_path / "d", f"{kind}/{number}{kind}.png", scene(number + 20 * (kind == "fake")))
            save(tmp_path / "d", f"{kind}/{number}{kind}again.jpg", again(scene(number + 20 * (kind == "fake"))))
    apart = folder_of(tmp_path / "d", allow_duplicates=True, val_fraction=0.3)
    split = ready(apart).items.set_index("item")["split"]
    pairs = [(item, f"{item}again") for item in split.index if not item.endswith("again")]
    assert len(pairs) == 24 and any(split[a] != split[b] for a, b in pairs)
    together = ready(folder_of(tmp_path / "d", val_fraction=0.3)).items.set_index("item")["split"]
    assert all(together[a] == together[b] for a, b in pairs) and set(together) == {"train", "val", "test"}


def test_the_same_bytes_under_both_labels_are_refused(tmp_path):
    """Within one split too, before anything is prepared and after; and the same pixels in other bytes."""
    data = divided(tmp_path / "d")
    shutil.copy(data.root / "train/real/trainreal3.png", data.root / "train/fake/other.png")
    done = unmask("prepare", "data=folder", f"data.root={data.root}", "check=true", cwd=tmp_path, expect=1)
    wanted = r"the same file is labelled real and fake: .*other \(fake, train\), .*trainreal3 \(real, train\)"
    assert pd.Series([done.stdout.replace("\n", " ")]).str.contains(wanted).all()
    with pytest.raises(ManifestError, match=wanted):
        ready(folder_of(data.root))
    Image.open(data.root / "train/real/trainreal3.png").save(data.root / "train/fake/other.png", compress_level=0)
    with pytest.raises(ManifestError, match=wanted.replace("file", "picture")):
        ready(folder_of(data.root))


def test_contradictions_are_named_by_their_rows():
    items = items_table([Item("a", "a", 0, "real", groups=("p",)), Item("b", "b", 1, "x", source="a", groups=("q",))])
    items = items.assign(split="train", sha256=["1", "1"])
    with pytest.raises(ManifestError, match=r"labelled real and fake: a \(real, train\), b \(fake, train\)"):
        check_leaks(items)
    crops = pd.DataFrame({"item": ["a", "b"], "hash": ["7", "7"]})
    check_leaks(items.assign(sha256=["1", "2"]), crops)  # a frame of a fake may be its source's


def test_check_lists_pairs_and_says_when_contents_are_compared(tmp_path):
    data = divided(tmp_path / "d")
    save(data.root, "train/real/twin.jpg", again(scene(0)))
    save(data.root, "test/real/copy.jpg", again(scene(1)))
    call = ["prepare", "data=folder", f"data.root={data.root}", "data/recipe=pictures", "prepare.num_workers=0"]
    said = unmask(*call, "check=true", cwd=tmp_path).stdout
    assert "found: 20 real and 18 fake pictures" in said and "unmask prepare also compares their contents" in said
    assert "nothing is missing" not in said, "nobody knows how many there should be"
    assert "unmask train will refuse this data: the splits leak" in unmask(*call, cwd=tmp_path).stdout
    said = unmask(*call, "check=true", cwd=tmp_path, expect=1).stdout
    assert "folder/real/test/copy (test) and folder/real/train/trainreal1 (train)" in said
    said = unmask(*call, "check=true", "data.split.allow_duplicates=true", cwd=tmp_path).stdout
    assert "2 pairs of similar items: 2 not known to be related; of these, 1 in different splits, accepted" in said
    assert "folder/real/train/trainreal0 (train) and folder/real/train/twin (train): " in said
    (listed,) = (tmp_path / "outputs/prepared/folder").glob("*/duplicates.csv")
    assert len(pd.read_csv(listed)) == 2


# -- published counts


def test_a_partial_copy_is_compared_with_the_published_counts(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    said = unmask("prepare", "data=celebdf_v2", f"data.root={root}", "check=true", cwd=tmp_path).stdout
    assert "36 of the published 6,529 videos are present (20 of 890 real, 16 of 5,639 fake)" in said
    assert "nothing is missing" not in said and "complete" not in said
    assert CelebDF("celebdf_v2", root, demo=True).published(celebdf(root).manifest()) == {}, "not of rendered data"


def test_published_counts_are_of_what_a_copy_holds(tmp_path):
    assert CelebA("celeba", tmp_path).published(pd.DataFrame()) == {"real": 202_599, "fake": 0}
    assert CelebA("demo_celeba", tmp_path, demo=True).published(pd.DataFrame()) == {}
    dfdc = DFDC("dfdc", tmp_path)
    both, test = pd.DataFrame({"predefined": ["train", "test"]}), pd.DataFrame({"predefined": ["test"]})
    assert dfdc.published(both) == {"real": 21_654, "fake": 102_500}
    assert dfdc.published(test) == {"real": 2500, "fake": 2500}
