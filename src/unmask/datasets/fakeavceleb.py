"""FakeAVCeleb v1.2 (arXiv:2108.05080): clips of 500 celebrities in four classes, by whether sound and image are real.

`meta_data.csv` has the columns `source,target1,target2,method,category,type,race,gender,path`, and a last one without a
name. `source` is the person in the clip, `target1` the person whose face or voice was used, `path` the file's name, and
the last column its folder.
"""

from pathlib import Path

import pandas as pd

from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.datasets.asvspoof import missing
from unmask.datasets.lists import named_once, read_csv
from unmask.datasets.modalities import check_judged, is_fake

META = "meta_data.csv"
#: type -> number of clips; https://github.com/DASH-Lab/FakeAVCeleb, version 1.2
TYPES = {
    "RealVideo-RealAudio": 500,
    "RealVideo-FakeAudio": 500,
    "FakeVideo-RealAudio": 9_709,
    "FakeVideo-FakeAudio": 10_857,
}
COLUMNS = ("source", "target1", "method", "type", "race", "gender", "path")


class FakeAVCeleb(Source):
    """FakeAVCeleb: clips with sound in four classes.

    Args:
        name: name of the data set.
        root: the folder with meta_data.csv.
        judged: the part of a clip that decides its label: `sound`, `image` or `either`. With `sound`, a clip with a
            forged face and its original sound counts as real.
        demo: see `Source`.
    """

    HOME = "https://github.com/DASH-Lab/FakeAVCeleb (fill in the form to get a link; for research)"
    LAYOUT = f"""\
  {META}                                                       21,566 rows
  RealVideo-RealAudio/African/men/id00076/00109.mp4                   500 clips; also RealVideo-FakeAudio, ...
The folders may also be in FakeAVCeleb/."""
    PROTOCOL_WORDS = {
        **Source.PROTOCOL_WORDS,
        "random_groups": "no person is in two splits, neither in the clip nor as the origin of face or voice; assigned "
        "at random with seed {seed}",
        "identity_disjoint": "no person is in two splits, neither in the clip nor as the origin of face or voice",
    }

    def __init__(self, name: str, root: str | Path, judged: str = "sound", demo: bool = False) -> None:
        super().__init__(name, root, demo)
        self.judged = check_judged(judged)

    def find_items(self) -> list[Item]:
        """Return one item per clip; its groups are the people, and its source is the real clip of the same person."""
        path = next((at for at in (self.root / META, self.root / "FakeAVCeleb" / META) if at.is_file()), None)
        if path is None:
            raise ManifestError(f"{self.root / META} is missing\n{self.explain()}")
        rows = self._rows(path)
        places = {place: row for place, row in rows.items() if (path.parent / place).is_file()}
        if len(places) < len(rows):
            lost = next(place for place in rows if place not in places)
            raise ManifestError(missing(path, len(rows) - len(places), len(rows), lost))
        real: dict[str, list[str]] = {}
        for place, row in rows.items():
            if row["method"] == "real":
                real.setdefault(row["source"], []).append(self._named(place, row))
        return [self._item(path.parent, place, row, real) for place, row in rows.items()]

    def published(self, items: pd.DataFrame) -> dict[str, int]:
        """Return the published numbers of clips that count as real and fake."""
        if self.demo:
            return {}
        counts = {"real": 0, "fake": 0}
        for kind, number in TYPES.items():
            counts["fake" if self._fake(kind) else "real"] += number
        return counts

    def choice(self) -> list[str]:
        """Return the command-line arguments that select this data set."""
        return [*super().choice(), f"data.judged={self.judged}"]

    def _rows(self, path: Path) -> dict[str, dict[str, str]]:
        """Return {path of a clip below the folder of the list: its row}."""
        head, *rows = read_csv(path) or [[]]
        if lost := [name for name in COLUMNS if name not in head]:
            raise ManifestError(f"{path}, line 1: expected the columns {', '.join(COLUMNS)}; {', '.join(lost)} missing")
        found = list[tuple[int, str, dict[str, str]]]()
        for number, cells in enumerate(rows, 2):
            if not cells:
                continue
            row = dict(zip(head, cells, strict=False))
            if row.get("type") not in TYPES or not all(row.get(name) for name in COLUMNS):
                raise ManifestError(f"{path}, line {number}: expected a row of {','.join(COLUMNS)}, but got {cells}")
            found.append((number, "/".join(row[name] for name in ("type", "race", "gender", "source", "path")), row))
        return named_once(path, found)

    def _fake(self, kind: str) -> bool:
        return is_fake(self.judged, "FakeAudio" in kind, "FakeVideo" in kind)

    def _named(self, place: str, row: dict[str, str]) -> str:
        method = row["method"] if self._fake(row["type"]) else "real"
        return f"{self.name}/{method}/{place.removesuffix('.mp4')}"

    def _item(self, folder: Path, place: str, row: dict[str, str], real: dict[str, list[str]]) -> Item:
        fake, name = self._fake(row["type"]), self._named(place, row)
        people = dict.fromkeys(who for who in (row["source"], row["target1"]) if who.startswith("id"))
        clips = real.get(row["source"], [])
        source = clips[0] if len(clips) == 1 else None  # with several clips of a person, the original is unknown
        return Item(
            name, (folder / place).relative_to(self.root).as_posix(), int(fake), row["method"] if fake else "real",
            source if fake and source != name else None, tuple(f"{self.name}/{who}" for who in people),
            attributes={"type": row["type"], "race": row["race"], "gender": row["gender"]},
        )  # fmt: skip
