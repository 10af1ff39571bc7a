"""Your own files, sorted into folders: videos, pictures, or recordings."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.media.kinds import AUDIBLE, MEDIA

CLASSES = {"real": 0, "fake": 1}
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class Folder(Source):
    """Your own files in folders `real` and `fake`, directly in `root` or in each of its folders `train`, `val`, `test`.

    Args:
        name: name of the data set: letters, digits, `_` and `-`.
        root: folder of the data set.
        only: None, or `real` to train generators; then the root may contain real files without a folder `real`.
        group: a regular expression, searched for in each file's path below `real` or `fake/METHOD` (without suffix).
            Files stay in one split if the first parentheses of the expression match the same text in their paths; if
            the expression has no parentheses, the whole match counts. `(.+)_frame` keeps the pictures of a video
            together. None groups files by sub-folder or, outside of sub-folders, by file name.
        sound: whether the files are recordings or videos with sound, instead of videos and pictures.
        demo: see `Source`.
    """

    LAYOUT = """\
  real/**                     videos, pictures or (with data=recordings) sound files, in sub-folders or not
  fake/**                     the first sub-folder names the method: fake/faceswap/0001.mp4
(a folder with only one of the two can be evaluated: unmask evaluate run=DIR data=folder data.split.test_fraction=1)
(for generators or false positive rates, real media suffice, with or without sub-folders: data=faces)
or, with your own splits (without val/, part of train/ is held out):
  train/real/**  val/real/**  test/real/**
  train/fake/**  val/fake/**  test/fake/**
In the first layout, whole groups are assigned to splits at random. All files of a sub-folder (below the method) form a
group. Other files form a group if they have the same name, such as real/a.mp4 and fake/swap/a.mp4. To take the group
from another part of the path, set data.group to a regular expression, such as data.group='(.+)_frame'."""
    PROTOCOL_WORDS = {**Source.PROTOCOL_WORDS, "predefined": "the splits of the folders"}
    ELSE_RANDOM_GROUPS = True

    def __init__(
        self,
        name: str,
        root: str | Path,
        only: str | None = None,
        group: str | None = None,
        sound: bool = False,
        demo: bool = False,
    ) -> None:
        if not re.fullmatch(r"[\w-]+", name):
            raise ValueError(f"data.name={name}: expected a folder name of letters, digits, _ and -")
        try:
            self.group = None if group is None else re.compile(group)
        except re.error as error:
            raise ValueError(f"data.group={group} is not a regular expression: {error}") from None
        super().__init__(name, root, demo)
        self.only, self.sound = only, sound
        self.suffixes, self.what = (AUDIBLE, ("recording", "video")) if sound else (MEDIA, ("video", "picture"))

    def find_items(self) -> list[Item]:
        """Return one item per file below `real` and `fake`."""
        parts = self._parts()
        classes = _folders(self.root, CLASSES)
        if parts and classes:
            raise ManifestError(
                f"{self.root} contains both {classes[0].name}/ and {next(iter(parts.values())).name}/: use one of "
                f"the two layouts\n{self.explain()}"
            )
        self.unused: Counter[str] = Counter()
        found = [item for split, folder in parts.items() for item in self._classes(folder, split)]
        found += self._classes(self.root, None)
        if self.only and not parts and not classes:
            found += self._media(self.root, 0, None)
        if self.unused:
            kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in self.unused.most_common(5))
            warnings.warn(
                f"{self.unused.total()} files in {self.root} are neither {self.what[0]}s nor {self.what[1]}s and are "
                f"ignored ({kinds})",
                stacklevel=2,
            )
        if not found:
            where = "" if self.only and not parts and not classes else "in real/ and fake/ "
            raise ManifestError(
                f"no {self.what[0]} or {self.what[1]} {where}in {self.root}{self._renamed()}\n{self.explain()}"
            )
        return found

    def _renamed(self) -> str:
        """Suggest new names for folders whose names are similar to `real` or `fake`, such as `reals`."""
        near = {
            entry.name: match[0]
            for entry in sorted(self.root.iterdir())
            if entry.is_dir() and (match := get_close_matches(entry.name.lower(), CLASSES, n=1, cutoff=0.7))
        }
        names = ", ".join(f"{name}/ to {meant}/" for name, meant in near.items() if name.lower() != meant)
        return f"; rename {names}" if names else ""

    def _parts(self) -> dict[str, Path]:
        """Return {split: folder}; empty if the root has no folders such as `train` and `test`."""
        parts: dict[str, Path] = {}
        for folder in _folders(self.root, SPLITS):
            if (other := parts.setdefault(SPLITS[folder.name.lower()], folder)) != folder:
                raise ManifestError(
                    f"{self.root} contains both {other.name}/ and {folder.name}/, which both mean the "
                    f"{SPLITS[folder.name.lower()]} split: move the files of one into the other, or rename one of them"
                )
        return parts

    def _classes(self, folder: Path, split: str | None) -> Iterator[Item]:
        for place in _folders(folder, CLASSES):
            yield from self._media(place, CLASSES[place.name.lower()], split)

    def _media(self, place: Path, label: int, split: str | None) -> Iterator[Item]:
        files = sorted(_files(place))
        media = [file for file in files if file.suffix.lower() in self.suffixes]
        self.unused.update(file.suffix.lower() for file in files if file.suffix.lower() not in self.suffixes)
        stems = Counter(file.with_suffix("") for file in media)
        for file in media:
            yield self._item(file, place, label, split, stems[file.with_suffix("")] > 1)

    def _item(self, file: Path, place: Path, label: int, split: str | None, ambiguous: bool) -> Item:
        """Return the item of one file; if a.jpg and a.png both exist (`ambiguous`), the item names keep the suffix."""
        inside = file.relative_to(place)
        method = "real"
        if label:
            method = inside.parts[0] if len(inside.parts) > 1 else "fake"
            inside = inside.relative_to(method) if len(inside.parts) > 1 else inside
        path = inside.with_suffix("").as_posix()
        clip = "/".join(filter(None, (split, inside.as_posix() if ambiguous else path)))
        where = file.relative_to(self.root).as_posix()
        groups = (f"{self.name}/{self._group(path)}",)
        return Item(f"{self.name}/{method}/{clip}", where, label, method, groups=groups, predefined=split)

    def _group(self, path: str) -> str:
        if self.group is None:
            return path.rpartition("/")[0] or path
        if (match := self.group.search(path)) is None:
            raise ManifestError(
                f"data.group={self.group.pattern} does not match '{path}'; correct or remove data.group"
            )
        return str(match.group(1) if self.group.groups else match.group())

    def choice(self) -> list[str]:
        """Return the command-line arguments that select this data set."""
        pattern = [] if self.group is None else [f"data.group={self.group.pattern}"]
        option = "recordings" if self.sound else "faces" if self.only else "folder"
        return [f"data={option}", f"data.name={self.name}", *pattern]


def _folders(root: Path, names: dict[str, Any]) -> list[Path]:
    """Return the folders in `root` that have one of these names, ignoring case."""
    return [entry for entry in sorted(root.iterdir()) if entry.is_dir() and entry.name.lower() in names]


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder except hidden files; links are followed, but no folder is visited twice."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in files if not name.startswith("."))
