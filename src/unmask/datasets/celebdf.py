"""Celeb-DF v1 and v2 (arXiv:1909.12962), and other data with the same layout.

The fake `id{a}_id{b}_{n}.mp4` was made from `Celeb-real/id{a}_{n}.mp4`: person a was filmed, and the face of person b
was swapped in, as the authors confirm in issue 6 of yuezunli/celeb-deepfakeforensics. In the official list, label 1
means real.
"""

import re
from pathlib import Path

from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.datasets.lists import named_once, read_csv, read_text, the_only

REAL = re.compile(r"id(\d+)_(\d+)")
FAKE = re.compile(r"id(\d+)_id(\d+)_(\d+)")
TEST_LIST = "List_of_testing_videos.txt"
MARKS = ("0 (fake)", "1 (real)")  # labels in the test list


class CelebDF(Source):
    """Celeb-DF: `Celeb-real`, `YouTube-real` and `Celeb-synthesis` with the official test list."""

    HOME = "https://github.com/yuezunli/celeb-deepfakeforensics (fill in the form to get a link; for research)"
    LAYOUT = f"""\
  Celeb-real/id{{a}}_{{n}}.mp4               v2: 590 videos of 59 people
  YouTube-real/{{n}}.mp4                    v2: 300 videos of other people
  Celeb-synthesis/id{{a}}_id{{b}}_{{n}}.mp4    v2: 5,639 fakes, b's face swapped in for a's
  {TEST_LIST}          v2: 518 lines `LABEL PATH`, 1 = real
  methods.csv                              optional: `path,method` for fakes of several methods"""

    PUBLISHED = {  # README.md of https://github.com/yuezunli/celeb-deepfakeforensics, and of its Celeb-DF-v1
        "celebdf_v1": {"real": 408, "fake": 795},
        "celebdf_v2": {"real": 590 + 300, "fake": 5639},
    }

    def find_items(self) -> list[Item]:
        """Return one item per video; people and sources are taken from the file names."""
        listed = read_test_list(self._find(TEST_LIST))
        methods = read_methods(self.root / "methods.csv")
        items = [
            item
            for folder in ("Celeb-real", "YouTube-real", "Celeb-synthesis")
            for item in self._folder(folder, methods)
        ]
        on_disk = {_same(item.path): item for item in items}
        wrong = [
            path for path, label in listed.items() if _same(path) in on_disk and on_disk[_same(path)].label != label
        ]
        if wrong:
            raise ManifestError(f"{TEST_LIST}: labels contradict the folders (expected 1 for real): {wrong[:5]}")
        missing = [path for path in listed if _same(path) not in on_disk]
        if missing:
            raise ManifestError(
                f"{self.root} lacks {len(missing)} of the {len(listed)} videos in {TEST_LIST}, such as {missing[0]}: "
                "the download is incomplete"
            )
        tests = {_same(path) for path in listed}
        sources = {item.item for item in items}
        return [
            Item(
                **(
                    vars(item)
                    | {
                        "official_test": _same(item.path) in tests,
                        "source": item.source if item.source in sources else None,
                    }
                )
            )
            for item in items
        ]

    def _folder(self, name: str, methods: dict[str, str]) -> list[Item]:
        """Return one item for each video in the folder `name`."""
        folder = self._find(name)
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".mp4")
        if not files:
            raise ManifestError(f"no .mp4 in {folder}")
        return [self._item(name, f"{folder.name}/{path.name}", path.stem, methods) for path in files]

    def _item(self, folder: str, path: str, stem: str, methods: dict[str, str]) -> Item:
        if folder == "YouTube-real":
            return Item(f"{self.name}/youtube/{stem}", path, 0, "real", groups=(f"{self.name}/youtube/{stem}",))
        match = (FAKE if folder == "Celeb-synthesis" else REAL).fullmatch(stem)
        if match is None:
            raise ManifestError(f"{path}: expected a name like id3_0002.mp4 or, for a fake, id3_id7_0002.mp4")
        filmed, *donor, number = match.groups()
        people = tuple(f"{self.name}/id{person}" for person in (filmed, *donor))
        if not donor:
            return Item(f"{self.name}/celeb/{stem}", path, 0, "real", groups=people)
        source = f"{self.name}/celeb/id{filmed}_{number}"
        method = methods.get(_same(path), "celebdf")
        return Item(f"{self.name}/{method}/{stem}", path, 1, method, source=source, groups=people)

    def _find(self, name: str) -> Path:
        """Find a file or folder in the root, ignoring case (`Youtube-real` is common)."""
        named = [entry for entry in sorted(self.root.iterdir()) if entry.name.lower() == name.lower()]
        if (entry := the_only(named, name)) is not None:
            return entry
        raise ManifestError(f"{self.root / name} is missing\n{self.explain()}")


def read_test_list(path: Path) -> dict[str, int]:
    """Read the official test list (lines `LABEL PATH`, 1 = real); return {path: label} with 0 real, 1 fake.

    Raises:
        ManifestError: a line is malformed, or two lines label the same video differently.
    """
    listed: list[tuple[int, str, int]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        mark, _, name = line.strip().partition(" ")
        if mark not in ("0", "1") or not name:
            raise ManifestError(
                f"{path}, line {number}: expected `LABEL PATH` with a label of 0 or 1, but got '{line}'"
            )
        listed.append((number, name.strip(), int(mark)))
    named_once(path, [(number, _same(name), MARKS[mark]) for number, name, mark in listed])
    return {name: 1 - mark for _, name, mark in listed}


def read_methods(path: Path) -> dict[str, str]:
    """Read the optional table of methods as {path: method}; empty if the file is missing."""
    if not path.exists():
        return {}
    head, *rows = read_csv(path) or [[]]
    if not {"path", "method"} <= set(head):
        raise ManifestError(f"{path}, line 1: expected the columns `path,method`, but got {head}")
    place, method = head.index("path"), head.index("method")
    if short := [number for number, row in enumerate(rows, 2) if row and len(row) <= max(place, method)]:
        raise ManifestError(f"{path}, line {short[0]}: expected {len(head)} columns, {','.join(head)}")
    return named_once(path, [(number, _same(row[place]), row[method]) for number, row in enumerate(rows, 2) if row])


def _same(path: str) -> str:
    """Normalise slashes and case of a path, so that paths in lists match paths on disk."""
    return path.replace("\\", "/").lower()
