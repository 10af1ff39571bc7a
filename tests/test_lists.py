"""Lists of data sets: what Excel and Notepad save is read, and what contradicts itself is refused with its lines."""

from pathlib import Path

import pytest

from datamodules import DataOf
from test_data import LISTED, PATHS, tree
from test_data import module as celebdf
from unmask.data.manifest import ManifestError
from unmask.datasets.celeba import read_table
from unmask.datasets.celebdf import read_methods, read_test_list
from unmask.datasets.deepfakeart import read_pairs as art_pairs
from unmask.datasets.dfdc import read_labels, read_metadata
from unmask.datasets.faceforensics import read_pairs as ff_pairs
from unmask.datasets.folder import Folder
from unmask.datasets.lists import the_only
from unmask.media.recipe import FaceCrops

PAINTING = "similar/inpainting/7"
ART = f'{{"a": {{"0": {{"original": "{PAINTING}/original.png", "generated": "{PAINTING}/inpainting.png"}}}}}}'
READERS = {
    "celebdf": (read_test_list, "1 Celeb-real/a.mp4\n0 Celeb-synthesis/b.mp4\n"),
    "methods": (read_methods, "path,method\nCeleb-synthesis/b.mp4,swap\n"),
    "dfdc labels": (read_labels, "filename,label\na.mp4,1\nb.mp4,0\n"),
    "dfdc metadata": (read_metadata, '{"a.mp4": {"label": "FAKE", "original": "b.mp4"}, "b.mp4": {"label": "REAL"}}'),
    "ff pairs": (ff_pairs, '[["033", "097"], ["111", "222"]]'),
    "art pairs": (lambda path: list(art_pairs(path)), ART),
    "celeba.csv": (lambda path: read_table(path, 0, None), "image_id,partition\n1.jpg,0\n2.jpg,2\n"),
    "celeba.txt": (lambda path: read_table(path, 0, None), "1.jpg 0\n2.jpg 2\n"),
}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", READERS)
def test_a_byte_order_mark_changes_nothing(tmp_path, name, encoding):
    read, text = READERS[name]
    plain, marked = (tmp_path / f"{which}{Path(name).suffix}" for which in ("plain", "marked"))
    plain.write_text(text, encoding="utf-8")
    marked.write_text(text.replace("\n", "\r\n"), encoding=encoding)
    assert read(plain) and read(marked) == read(plain)


def test_another_encoding_is_named_with_its_line(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("filename,label\na.mp4,1\ncafé.mp4,0\n".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"labels.csv, line 3: not UTF-8 text .*save the file as UTF-8"):
        read_labels(path)


@pytest.mark.parametrize(
    ("read", "text", "reason"),
    [
        (read_test_list, "1 a/x.mp4\n1 a/y\n0 A/x.mp4\n", r"lines 1 and 3 .*'a/x.mp4' is 1 \(real\) and 0 \(fake\)"),
        (read_methods, "path,method\na.mp4,x\na.mp4,y\n", "lines 2 and 3 .*'a.mp4' is x and y"),
        (read_labels, "filename,label\na.mp4,0\n\na.mp4,1\n", r"lines 2 and 4 .*'a.mp4' is 0 \(real\) and 1 \(f"),
        (read_metadata, '{"a.mp4": {"label": "REAL"}, "a.mp4": {"label": "FAKE"}}', "two entries .*'a.mp4' is .*REAL"),
        (lambda path: list(art_pairs(path)), '{"a": {"0": {"x": 1}, "0": {"x": 2}}}', "two entries .*'0' is"),
        (lambda path: read_table(path, 0, None), "1.jpg 0\n1.jpg 2\n", r"lines 1 and 2 .*'1.jpg' is \[0\] and \[2\]"),
    ],
)  # fmt: skip
def test_a_list_that_says_two_things_of_one_file_is_refused(tmp_path, read, text, reason):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ManifestError, match=f"list.txt: {reason}.*; delete the wrong one"):
        read(path)


def test_a_file_that_is_named_twice_alike_counts_once_and_is_mentioned(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("filename,label\na.mp4,1\nb.mp4,0\na.mp4,1\n")
    with pytest.warns(UserWarning, match=r"lists 1 file twice, such as 'a.mp4' \(lines 2 and 4\); each counts once"):
        assert read_labels(path) == [("a.mp4", 1), ("b.mp4", 0)]


def test_two_folders_of_one_name_are_refused_by_both_names(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS, "Youtube-real/00009.mp4")
    if len(list(root.iterdir())) < 5:
        pytest.skip("needs a file system with case-sensitive names, to hold train/ beside Train/")
    with pytest.raises(ManifestError, match=r"YouTube-real and .*Youtube-real both exist.*keep one, or merge"):
        celebdf(root).manifest()


def folder(root: Path, **options) -> DataOf:
    options = {"protocol": "predefined", **options}
    return DataOf(Folder("own", root), root.parent / "prepared", FaceCrops(frames=2, crop_size=32), **options)


@pytest.mark.parametrize(("one", "other"), [("val", "valid"), ("Train", "train"), ("validation", "val")])
def test_two_folders_of_one_split_are_refused_by_both_names(tmp_path, one, other):
    files = [f"{split}/{kind}/1.jpg" for split in {"train", "test", one, other} for kind in ("real", "fake")]
    root = tree(tmp_path / "raw", "", *files)
    if len([entry for entry in root.iterdir() if entry.is_dir()]) < len({"train", "test", one, other}):
        pytest.skip("needs a file system with case-sensitive names, to hold train/ beside Train/")
    split = "train" if "rain" in one else "val"
    with pytest.raises(
        ManifestError, match=f"contains both {min(one, other)}/ and {max(one, other)}/.* the {split} split"
    ):
        folder(root).manifest()


def test_two_folders_of_one_class_are_joined(tmp_path):
    root = tree(tmp_path / "raw", "", *(f"{kind}/{n}.jpg" for kind in ("real", "fake") for n in range(9)), "Real/x.jpg")
    assert (folder(root).manifest()["path"] == "Real/x.jpg").any()


def test_two_copies_of_an_official_list_must_agree(tmp_path):
    (tmp_path / "splits").mkdir()
    for place in (tmp_path, tmp_path / "splits"):
        (place / "list_eval_partition.txt").write_text("1.jpg 0\n")
    places = [tmp_path / "list_eval_partition.txt", tmp_path / "splits/list_eval_partition.txt", tmp_path / "no"]
    assert the_only(places, "the partition") == places[0]
    places[1].write_text("1.jpg 1\n")
    with pytest.raises(ManifestError, match=r"both exist, and either could be the partition; keep one"):
        the_only(places, "the partition")
    assert the_only(places[2:], "the partition") is None
