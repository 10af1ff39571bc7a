"""What a fall leaves: stores and checkpoints that are damaged are named, and nothing is deleted that was not made."""

import errno
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from conftest import SCORED, unmask
from test_evaluation import TRAIN, divided, prepared, trained
from unmask.data import checksums, duplicates
from unmask.data.manifest import Item, items_table
from unmask.data.parts import DamagedPart, part_path
from unmask.data.prepare import MADE as STORE
from unmask.data.prepare import prepare, prepare_parts
from unmask.data.store import CropStore
from unmask.failures import fail_clearly
from unmask.files import remove_made, replace_file, reserve
from unmask.generation.folder import is_whole
from unmask.media.pictures import WholePictures
from unmask.runs.checkpoints import load_checkpoint, load_weights, resume_point
from unmask.runs.errors import RunError
from unmask.runs.predictions import read_predictions, write_predictions
from unmask.training.checkpoints import WholeCheckpoints, complete


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("damage")
    prepared(place, divided(place / "whole", train=6, val=6, test=12))
    return place


@pytest.fixture
def store(place):
    """The store's folder, as it was before the test when the test has ended."""
    (folder,) = (path.parent for path in place.glob("outputs/prepared/*/*/crops.parquet"))
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    yield folder
    for path, content in before.items():
        path.write_bytes(content)


def overwrite_pixels(folder: Path) -> str:
    shard = np.load(folder / "crops-00000.npy", mmap_mode="r+")
    shard[3, :, 5:9] ^= 255
    shard.flush()
    return "crops-00000.npy"


def invert_labels(folder: Path) -> str:
    items = pd.read_parquet(folder / "items.parquet")
    items.assign(label=1 - items["label"]).to_parquet(folder / "items.parquet", index=False)
    return "items.parquet"


def shuffle_offsets(folder: Path) -> str:
    crops = pd.read_parquet(folder / "crops.parquet")
    crops.assign(offset=crops["offset"].to_numpy()[::-1]).to_parquet(folder / "crops.parquet", index=False)
    return "crops.parquet"


def flip_a_byte(folder: Path) -> str:
    path = folder / "crops-00000.npy"
    raw = bytearray(path.read_bytes())
    raw[-7] ^= 1
    path.write_bytes(raw)
    return path.name


@pytest.mark.slow
@pytest.mark.parametrize("harm", [overwrite_pixels, invert_labels, shuffle_offsets, flip_a_byte])
def test_a_damaged_store_trains_nothing(place, store, harm):
    name = harm(store)
    assert checksums.damaged(store) == [name]
    refused = unmask("train", *TRAIN, "name=damaged", cwd=place, expect=1).stderr
    assert name in refused and "changed since the preparation" in refused
    assert "unmask prepare data=folder" in refused and "rerun=true" in refused
    checked = unmask(
        "prepare", "data=folder", *TRAIN[1:3], f"data.root={place / 'whole'}", "check=true", cwd=place, expect=1
    )
    assert name in checked.stdout


def test_crops_are_compared_with_their_hashes_where_no_checksums_were_written(store):
    (store / checksums.CHECKSUMS).unlink()
    assert checksums.damaged(store) == [] and not len(checksums.damaged_crops(CropStore(store)))
    overwrite_pixels(store)
    bad = checksums.damaged_crops(CropStore(store))
    assert bad["offset"].tolist() == [3]


def test_a_whole_store_says_so(store):
    assert checksums.damaged(store) == []
    known = json.loads((store / checksums.CHECKSUMS).read_text())
    assert set(known) == {"items.parquet", "crops.parquet", "crops-00000.npy"}


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["no JSON", "[]", "\xff"])
def test_a_damaged_note_is_one_line_and_rerun_repairs_it(place, tmp_path, harm):
    where = ["prepare", "data=folder", *TRAIN[1:3], f"data.root={place / 'whole'}", f"paths.prepared={tmp_path}"]
    unmask(*where, cwd=place)
    (note,) = tmp_path.glob("folder/*/recipe.json")
    note.write_bytes(harm.encode("latin-1"))
    said = unmask(*where, cwd=place, expect=1).stderr
    assert str(note) in said and "damaged" in said and "rerun=true" in said and "Traceback" not in said
    unmask(*where, "rerun=true", cwd=place)
    assert json.loads(note.read_text())["key"]


def test_a_damaged_part_is_prepared_again(tmp_path):
    """Bytes of a part that changed on the disk before the store was merged: only this item is prepared again."""
    root, folder = tmp_path / "raw", tmp_path / "store"
    root.mkdir()
    for number in range(3):
        Image.fromarray(np.full((32, 32, 3), 60 * number, np.uint8)).save(root / f"{number}.png")
    rows = items_table(Item(f"x/real/{number}", f"{number}.png", 0, "real") for number in range(3))
    recipe = WholePictures(crop_size=16)
    whole = prepare(rows, root, tmp_path / "whole", recipe, num_workers=0)
    prepare_parts(rows, root, folder, recipe, num_workers=0)
    part = part_path(folder, "x/real/1")
    raw = bytearray(part.read_bytes())
    raw[raw.find(b"pixels.npy") + 200] ^= 1
    part.write_bytes(raw)
    with pytest.warns(UserWarning, match="damaged; rerun the command to prepare x/real/1 again"):
        store = prepare(rows, root, folder, recipe, num_workers=0)
    assert store.fingerprint == whole.fingerprint and store.items["rejected"].isna().all()


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"a,b\n1,2\n",
        b'a,"b',
        b"a,b,label_a,label_b,related,distance,correlation,share\nx,y,0,1,Urue,3,0.9,1\n",
    ],
)
def test_damaged_pairs_are_computed_again(store, content):
    before = duplicates.read(CropStore(store))
    (store / duplicates.DUPLICATES).write_bytes(content)
    pd.testing.assert_frame_equal(duplicates.read(CropStore(store)), before, check_dtype=False)


def test_a_disk_that_keeps_nothing_ends_the_preparation(tmp_path, monkeypatch):
    """Not an endless loop: a part that is damaged twice is an error."""
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "0.png")
    rows = items_table([Item("x/real/0", "0.png", 0, "real")])

    def damaged(*_):
        raise DamagedPart("0.npz is damaged")

    monkeypatch.setattr("unmask.data.prepare.merge", damaged)
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(DamagedPart):
        prepare(rows, tmp_path, tmp_path / "store", WholePictures(crop_size=16), num_workers=0)


@pytest.mark.parametrize("at", [-20, 60])
def test_a_changed_byte_of_a_picture_is_seen(tmp_path, at):
    path = tmp_path / "0.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    assert is_whole(path)
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    assert not is_whole(path) and not is_whole(tmp_path / "missing.png")


# ---- nothing is deleted that was not made


def test_rerun_deletes_nothing_of_the_users(place, tmp_path):
    """The run's folder is one where the user works."""
    (tmp_path / "outputs").symlink_to(place / "outputs")
    (tmp_path / "checkpoints").mkdir()
    mine = ["notes.txt", "predictions.csv", "checkpoints/mine.ckpt", "samples/a.png", "data/x.png", "report.txt"]
    for name in mine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    given = [*TRAIN, "hydra.run.dir=.", "name=here"]
    unmask("train", *given, cwd=tmp_path)
    first = (tmp_path / "metrics.json").stat().st_mtime_ns
    unmask("train", *given, "rerun=true", cwd=tmp_path)
    assert (tmp_path / "metrics.json").stat().st_mtime_ns != first
    assert all((tmp_path / name).read_text() == name for name in mine)


def test_only_what_matches_is_removed(tmp_path):
    for name in ("parts/a.npz", "parts/mine.txt", "features/x.npy", "crops.parquet", "notes.md", "crops-1/x.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    remove_made(tmp_path, STORE)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["crops-1/x.npy", "notes.md", "parts/mine.txt"] and not (tmp_path / "features").exists()
    remove_made(tmp_path / "missing", STORE)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.npz").write_text("x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/parts").symlink_to(outside)
    (tmp_path / "in/crops.parquet").symlink_to(tmp_path / "notes.md")
    remove_made(tmp_path / "in", STORE)
    assert (outside / "kept.npz").is_file() and (tmp_path / "notes.md").is_file()


# ---- checkpoints


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    writer = WholeCheckpoints()
    writer.save_checkpoint({"state_dict": {"w": torch.ones(3)}}, path)
    before = path.read_bytes()

    class Full(io.BytesIO):
        def write(self, content):
            super().write(bytes(content)[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        def fileno(self):
            raise AssertionError

    opened = Path.open

    def full(self, mode="r", *rest, **named):
        if self.suffix == ".tmp":
            opened(self, mode, *rest, **named).close()
            return Full()
        return opened(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        writer.save_checkpoint({"state_dict": {"w": torch.zeros(3)}}, path)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_frozen_tensors_are_written_once_and_the_best_weights_become_whole(tmp_path):
    state = {"encoder.w": torch.arange(2000.0), "head.w": torch.ones(3)}
    writer, best, last = WholeCheckpoints({"encoder.w"}), tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    writer.save_checkpoint({"state_dict": state, "epoch": 0}, best)
    frozen = tmp_path / "frozen.ckpt"
    first = frozen.stat()
    writer.save_checkpoint({"state_dict": state | {"head.w": torch.zeros(3)}, "epoch": 1}, last)
    after = frozen.stat()
    assert (first.st_ino, first.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)  # not written again
    assert list(torch.load(last, weights_only=True)["state_dict"]) == ["head.w"]
    assert best.stat().st_size < 4000 < frozen.stat().st_size
    for path, head in ((best, 1.0), (last, 0.0)):
        for found in (writer.load_checkpoint(path, weights_only=True)["state_dict"], load_weights(path)):
            assert found["encoder.w"].equal(state["encoder.w"]) and found["head.w"].equal(torch.full((3,), head))
    complete(best)
    whole = best.read_bytes()
    complete(best)  # does nothing
    assert best.read_bytes() == whole
    frozen.unlink()
    assert load_weights(best).keys() == state.keys()
    with pytest.raises(RunError, match=r"frozen.ckpt is missing"):
        load_weights(last)


@pytest.mark.parametrize("harm", ["cut", "flipped", "list", "empty", "text", "folder"])
def test_a_broken_checkpoint_falls_back_to_the_one_before(tmp_path, harm):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name, value in (("previous.ckpt", 1.0), ("last.ckpt", 2.0)):
        torch.save({"state_dict": {"w": torch.full((50,), value)}}, folder / name)
    last = folder / "last.ckpt"
    raw = bytearray(last.read_bytes())
    if harm == "flipped":  # one bit of one weight
        raw[raw.index(np.full(8, 2.0, np.float32).tobytes()) + 2] ^= 1
    changed = {"cut": raw[:300], "flipped": raw, "empty": b"", "text": b"not a checkpoint"}
    if harm == "list":
        torch.save([1, 2], last)
    elif harm == "folder":
        last.unlink()
        last.mkdir()
    else:
        last.write_bytes(changed[harm])
    if harm == "folder":
        assert resume_point(tmp_path) == folder / "previous.ckpt"
        return
    with pytest.warns(UserWarning, match="this checkpoint is skipped"):
        assert resume_point(tmp_path) == folder / "previous.ckpt"
    with pytest.raises(RunError, match="is refused"):
        load_checkpoint(last)


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError):
        replace_file(tmp_path / "missing/x", b"")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (
            errno.ENOSPC,
            "cannot write to outputs/x: no space left on device; free some space, then run the same command",
        ),
        (errno.EROFS, "cannot write to outputs/x: read-only file system; choose a writable folder"),
    ],
)
def test_a_disk_that_cannot_be_written_is_one_line(number, said, capsys):
    @fail_clearly
    def verb():
        raise OSError(number, os.strerror(number), "outputs/x/last.ckpt")

    with pytest.raises(SystemExit) as stop:
        verb()
    assert stop.value.code == 1 and said in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_space_is_taken_before_a_map_is_filled(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(5_000_000,))
    before = os.stat(path).st_blocks
    reserve(path)
    assert os.stat(path).st_blocks * 512 >= 5_000_000 > before * 512

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left.*x\.npy"):
        reserve(path)
    assert not path.exists()


def test_predict_writes_its_files_and_nothing_else(place, tmp_path):
    run, _ = trained(place, "asked")
    picture = next((place / "whole/test/fake").glob("*.png"))
    unmask("predict", str(picture), f"run={run.folder}", cwd=tmp_path, expect=SCORED)
    ends = ("report.html", "report.json", "score.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{picture.stem}-{end}" for end in ends]


# ---- one broken run among others


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".hydra/config.yaml", "module: ["),
        (".hydra/config.yaml", "- a"),
        (".hydra/config.yaml", "module: 3"),
        ("metrics.json", '{"score": '),
        ("metrics.json", "[1]"),
        ("metrics.json", '{"score": "much", "test": {}}'),
        ("metrics.json", '{"score": 0.5, "test": 3}'),
    ],
)
def test_a_broken_run_is_listed_with_the_others(place, name, text, tmp_path):
    for run in ("a", "b"):
        (tmp_path / "outputs" / run / ".hydra").mkdir(parents=True)
        (tmp_path / "outputs" / run / ".hydra/config.yaml").write_text("seed: 3\nmodule: {monitor: val/x}\n")
        (tmp_path / "outputs" / run / "metrics.json").write_text('{"score": 0.75, "test": {"video_auroc": 0.625}}')
    (tmp_path / "outputs/a" / name).write_text(text)
    printed = unmask("list", "runs", cwd=tmp_path).stdout
    assert "damaged" in printed and "0.625" in printed and "outputs/b" in printed


@pytest.mark.slow
def test_a_sweep_with_a_damaged_run_is_one_line_and_a_table(place, tmp_path):
    shutil.copytree(place, tmp_path / "sweep", symlinks=True)
    words = ["-m", *TRAIN, "seed=0", "name=swept", "report=false"]
    unmask("train", *words, cwd=tmp_path / "sweep")
    (path,) = (tmp_path / "sweep/outputs/swept").glob("*/metrics.json")
    path.write_text(path.read_text()[:40])
    done = unmask("train", *words, cwd=tmp_path / "sweep", expect=1)
    assert "metrics.json is damaged" in done.stderr and "Traceback" not in done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines() if path.parent.name in line][-1] == "damaged"


def test_a_changed_byte_in_predictions_is_seen_or_changes_nothing(tmp_path):
    """All of the file, its footer too, which the checksums of Parquet's pages do not cover."""
    rows = [(f"a/{'fake' if n % 2 else 'real'}/{n}", n % 2, ("real", "blend")[n % 2], n / 7, 0, n) for n in range(12)]
    table = pd.DataFrame(rows, columns=["item", "label", "method", "logit", "track", "frame"])
    path = tmp_path / "predictions-test.parquet"
    write_predictions(path, table, {"Split": "official", "Seed": "3"}, {"pixel_auroc": 0.75})
    good, raw, random = read_predictions(path), path.read_bytes(), np.random.default_rng(5)
    refused = 0
    for at, bit in zip(random.permutation(len(raw))[:600], random.integers(8, size=600), strict=False):
        changed = bytearray(raw)
        changed[at] ^= 1 << bit
        path.write_bytes(changed)
        try:
            found = read_predictions(path)
        except RunError as error:
            assert f"{path} is damaged" in str(error)
            refused += 1
        else:
            assert found.equals(good) and found.attrs == good.attrs, at
    assert refused
