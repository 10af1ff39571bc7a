"""What is no regular file is never waited for, and names that are no text do not end a preparation."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import unmask
from hostile_files import alarmed
from unmask.commands.prepare import _memory, hashes
from unmask.data.manifest import Item, ManifestError, items_table
from unmask.datasets import lists
from unmask.files import UNFINISHED, ClaimError, NotRegularError, claim, file_hash, lock, open_regular, replacing
from unmask.media.kinds import MediaError, first_line, is_picture
from unmask.media.pictures import WholePictures
from unmask.media.reader import open_media
from unmask.provenance import read_marks

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no named pipes and no names that are not UTF-8"
)


@pytest.fixture(params=["pipe", "socket", "device", "folder", "link"])
def odd(tmp_path, request, monkeypatch) -> tuple[Path, str]:
    """What is no regular file under the name of a picture, and what it is called."""
    monkeypatch.chdir(tmp_path)
    path = Path("x.jpg")
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        socket.socket(socket.AF_UNIX).bind("x.jpg")
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo("pipe")
        path.symlink_to("pipe")
    return path, {"pipe": "a named pipe", "link": "a named pipe"}.get(request.param, f"a {request.param}")


@pytest.mark.parametrize(
    "read",
    [open_regular, file_hash, open_media, is_picture, WholePictures(32), read_marks, lists.read_text, lists.read_csv],
    ids=lambda read: getattr(read, "__name__", "recipe"),
)
def test_what_is_no_regular_file_is_refused_at_once(odd, read):
    path, kind = odd
    with alarmed(300), pytest.raises(ValueError, match=rf"not a regular file \({kind}\)"):
        read(path)


def test_a_pipe_that_takes_the_place_of_a_file_is_refused_too(tmp_path, monkeypatch):
    """Between the look at a path and its opening another may stand there: what was opened decides."""
    os.mkfifo(tmp_path / "x")
    (tmp_path / "y").write_bytes(b"a file")
    there = os.stat(tmp_path / "y")
    monkeypatch.setattr(os, "stat", lambda path: there)
    with pytest.raises(NotRegularError, match="a named pipe"):
        open_regular(tmp_path / "x")
    with open_regular(tmp_path / "y") as file:
        assert file.read() == b"a file"


def test_hashing_comes_to_an_end(tmp_path):
    """A file of /proc has 0 bytes by its header, and some of them never end."""
    (tmp_path / "x").write_bytes(b"abc" * 10**6)
    digest = subprocess.run(["sha256sum", tmp_path / "x"], capture_output=True, text=True, check=True).stdout
    assert file_hash(tmp_path / "x") == digest.split()[0]
    (tmp_path / "empty").touch()
    if Path("/proc/self/mounts").is_file():
        assert file_hash(Path("/proc/self/mounts")) == file_hash(tmp_path / "empty")


def test_a_sparse_file_is_not_searched_for_hours(tmp_path):
    for name, head in (("a.ts", b"G" + bytes(187)), ("a.webm", b"\x1aE\xdf\xa3")):
        with (tmp_path / name).open("wb") as file:
            file.write(head)
            file.truncate(2**40)
        with pytest.raises(MediaError, match=r"a sparse file: only .* of its 1,099,511,627,776 bytes"):
            open_media(tmp_path / name)


def pictures(root: Path, count: int = 3) -> None:
    rng = np.random.default_rng(0)
    for folder in ("real", "fake/edit"):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(root / folder / f"{number}.png")


def prepared(root: Path, *more: str) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The items and the rejected of a folder that is prepared through the console, and what was printed."""
    call = ("prepare", "data=folder", "data/recipe=pictures", f"data.root={root}", "data.recipe.crop_size=32")
    said = unmask(*call, "prepare.num_workers=1", "prepare.max_rejected=1", *more, cwd=root.parent).stdout
    (store,) = (root.parent / "outputs/prepared/folder").glob("*/")
    return pd.read_parquet(store / "items.parquet"), pd.read_csv(store / "rejected.csv"), said


def test_pipes_sockets_and_devices_are_set_aside_with_their_reason(tmp_path, monkeypatch):
    root = tmp_path / "data"
    pictures(root)
    monkeypatch.chdir(root / "real")
    os.mkfifo("a.jpg")
    socket.socket(socket.AF_UNIX).bind("b.png")
    Path("c.mp4").symlink_to("/dev/zero")
    Path("d.png").symlink_to("gone.png")
    Path("e.png").symlink_to("e.png")
    with alarmed(300):
        items, rejected, _ = prepared(root)
    assert rejected.set_index("path")["rejected"].to_dict() == {
        "real/a.jpg": "not a regular file (a named pipe)",
        "real/b.png": "not a regular file (a socket)",
        "real/c.mp4": "not a regular file (a device)",
        "real/d.png": "no such file",
        "real/e.png": "cannot be opened (Too many levels of symbolic links)",
    }
    assert items["rejected"].isna().sum() == 6 and items.loc[items["rejected"].isna(), "sha256"].notna().all()
    unmask("prepare", "data=folder", f"data.root={root}", "check=true", "prepare.num_workers=1", cwd=tmp_path)


def test_only_files_of_one_size_are_hashed_and_in_other_processes(tmp_path):
    for name, text in {"a": "x", "b": "y", "c": "x", "d": "long"}.items():
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "e")
    found = hashes(pd.DataFrame({"path": [*"abcde", "gone"]}), tmp_path, num_workers=1)
    assert found.notna().tolist() == [True, True, True, False, False, False]
    assert found[0] == found[2] == file_hash(tmp_path / "a") != found[1]


def test_names_that_are_no_text_are_set_aside_and_others_escaped_where_they_are_printed(tmp_path):
    root = tmp_path / "data"
    pictures(root)
    good = (root / "real/0.png").read_bytes()
    for number, name in enumerate((b"caf\xe9.png", b"new\nline.png", b"esc\x1b[31m.png", b"x" * 246 + b".png")):
        picture = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(picture).save(root / "new.png")
        os.rename(root / "new.png", os.fsencode(root / "real") + b"/" + name)
    (root / "real/bad\x1b[2J.png").write_bytes(good[:50])
    items, rejected, said = prepared(root)
    assert len(items) == 11 and items["rejected"].isna().sum() == 9
    reasons = rejected.set_index("path")["rejected"]
    assert reasons[r"real/caf\udce9.png"] == r"its name is not valid UTF-8 (real/caf\udce9.png); rename the file"
    assert r"real/bad\x1b[2J.png" in reasons.index
    assert "real/new\nline.png" in set(items["path"]), "by which the file is found"
    for text in ("".join(items["item"]), said.replace("\n", ""), rejected.to_csv().replace("\n", "")):
        assert text.isprintable()
    unmask("prepare", "data=folder", f"data.root={root}", "check=true", "prepare.num_workers=0", cwd=tmp_path)


def test_names_of_items_stay_apart_and_plain_ones_as_they_are():
    names = ["a", "ünï 字", "a\nb", "a\x1bb", r"a\nb", os.fsdecode(b"\xe9"), os.fsdecode(b"\xe8"), "a\u202fb"]
    table = items_table(Item(name, f"{name}.png", 0, "real", groups=(name,)) for name in names)
    assert table["item"].nunique() == len(names) and {"a", "ünï 字", r"a\nb", "a\u202fb"} <= set(table["item"])
    assert table["rejected"].notna().sum() == 2 and "a\nb.png" in set(table["path"])
    json.dumps(table["item"].tolist(), ensure_ascii=False).encode()
    with pytest.raises(ManifestError) as caught:
        items_table([Item("a", "\x1b[31m.png", 0, "real")] * 2)
    assert str(caught.value) == r"duplicate item names: a (\x1b[31m.png), a (\x1b[31m.png)"
    assert str(ManifestError("one\ntwo\x07")) == "one\ntwo\\x07"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000])
def test_a_list_that_is_nested_too_deeply_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ManifestError, match="nested too deeply"):
        lists.read_json(tmp_path / "a.json")


def test_a_list_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "MOST_BYTES", 100)
    (tmp_path / "a.csv").write_text("x" * 101)
    with pytest.raises(ManifestError, match="more than 100 bytes"):
        lists.read_csv(tmp_path / "a.csv")
    monkeypatch.undo()
    (tmp_path / "a.csv").write_text('"' + "x" * 200_000)
    with pytest.raises(ManifestError, match="is not a table of comma-separated values"):
        lists.read_csv(tmp_path / "a.csv")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc, which only Linux has")
def test_memory_is_bounded_by_the_config(tmp_path, monkeypatch):
    from unmask.config import allowed

    monkeypatch.setattr(allowed, "ALLOWED", (*allowed.ALLOWED, "filling"))
    pictures(tmp_path / "data")
    target = "data.recipe._target_=filling.Filling"
    _, rejected, _ = prepared(tmp_path / "data", target, "prepare.memory=1")
    assert set(rejected["path"]) == {"real/1.png"}
    assert set(rejected["rejected"]) == {"needs more memory than prepare.memory=1 GB"}


def test_a_bound_is_a_number_of_gigabytes():
    assert _memory(None) is None and _memory(4) == 4.0 and _memory(0.5) == 0.5
    for wrong in (0, -1, "much", True, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"prepare\.memory=.*: expected the memory limit of a process in GB"):
            _memory(wrong)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AttributeError("'NoneType' object has no attribute 'name'"), "its content is damaged"),
        (KeyError("x"), "its content is damaged"),
        (MemoryError(), "it needs more memory than is available"),
        (OSError("image file is truncated"), "image file is truncated"),
        (ValueError("bad\x1b[31m header"), r"bad\x1b[31m header"),
        (ValueError(), "its content is damaged"),
    ],
)
def test_a_reason_is_about_the_file(error, said):
    assert first_line(error) == said


@pytest.mark.parametrize("error", [AttributeError("x"), MemoryError(), RuntimeError("y"), IndexError("z")])
def test_whatever_a_decoder_raises_is_a_reason(tmp_path, monkeypatch, error):
    from test_video_view import make
    from unmask.media import pyav_reader, stream, video

    path = make(tmp_path / "a.mp4", count=3)
    reader = open_media(path)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pyav_reader, "read_index", fail)
    with pytest.raises(MediaError, match=r"broken video stream \("):
        reader.read([0])
    monkeypatch.setattr(video, "_demux", fail)
    video._describe.cache_clear()
    for read in (open_media, WholePictures(32), lambda path: list(stream.stream(path))):
        with pytest.raises(MediaError, match=r"not a readable video \("):
            read(path)


# -- written whole or not at all, claimed, locked


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as one, replacing(path) as other:
        assert one != other and one.match(UNFINISHED) and not path.match(UNFINISHED)
        one.write_text("new")
        other.write_text("newer")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(KeyboardInterrupt), replacing(path) as half:
        half.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_claimed_for_one_thing(tmp_path):
    note = tmp_path / "made" / "note.json"
    claim(note, {"seed": 1}, "make it again", end="\n")
    assert note.read_text() == '{\n  "seed": 1\n}\n'
    claim(note, {"seed": 1}, "make it again")
    with pytest.raises(ClaimError) as refused:
        claim(note, {"seed": 2}, "make it again")
    assert refused.value.found == {"seed": 1}
    with pytest.raises(ClaimError) as refused:
        claim(tmp_path / "note.json", {"seed": 1}, "make it again")
    assert refused.value.found is None and not (tmp_path / "note.json").exists()
    claim(tmp_path / "note.json", {"seed": 1}, "make it again", alone=False)


@pytest.mark.skipif(os.name != "posix", reason="there are no such locks on Windows")
def test_a_folder_is_locked_with_others_or_alone(tmp_path):
    folder = tmp_path / "store"
    with lock(folder), lock(folder):
        with pytest.raises(BlockingIOError), lock(folder, alone=True, wait=False):
            pass
    with lock(folder, alone=True, wait=False):
        assert [path.name for path in tmp_path.iterdir()] == ["store.lock"]
