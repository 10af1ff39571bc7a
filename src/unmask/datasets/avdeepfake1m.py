"""AV-Deepfake1M (arXiv:2311.15308): clips of speech in which words were replaced, in the sound, the image or both.

`train_metadata.json` and `val_metadata.json` are lists of `{"file": "id00012/21Uxsk56VDQ/00001/real.mp4", "original":
null, "modify_type": "real", "audio_fake_segments": [], "visual_fake_segments": [], ...}`. `original` is the clip from
which a fake was made, and the segments are pairs of start and end in s. The labels of the test set are not public.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from unmask.config import Settings
from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.datasets.asvspoof import missing
from unmask.datasets.lists import read_json
from unmask.datasets.modalities import check_judged, is_fake

KINDS = {  # modify_type -> whether sound and image were modified
    "real": (False, False),
    "audio_modified": (True, False),
    "visual_modified": (False, True),
    "both_modified": (True, True),
}
SETS = {"train": "train", "val": "test"}  # official set -> split


class AVDeepfake1M(Source):
    """AV-Deepfake1M: clips with modified words; the segments are attributes of the items.

    Args:
        name: name of the data set.
        root: the folder with the metadata and the folders `train` and `val`.
        judged: the part of a clip that decides its label: `sound`, `image` or `either`.
        demo: see `Source`.
    """

    HOME = "https://github.com/ControlNet/AV-Deepfake1M (terms to be signed; CC BY-NC 4.0)"
    LAYOUT = """\
  train_metadata.json    train/id00012/21Uxsk56VDQ/00001/{real,fake_video_fake_audio,...}.mp4
  val_metadata.json      val/id.../.../.../*.mp4"""
    PROTOCOL_WORDS = {
        **Source.PROTOCOL_WORDS,
        "predefined": "the official validation set is the test split, because the labels of the official test set are "
        "not public; validation by people of the official training set",
    }

    def __init__(self, name: str, root: str | Path, judged: str = "sound", demo: bool = False) -> None:
        super().__init__(name, root, demo)
        self.judged = check_judged(judged)

    def find_items(self) -> list[Item]:
        """Return one item per clip; its group is the person."""
        lists = {kind: self.root / f"{kind}_metadata.json" for kind in SETS}
        items = [item for kind, path in lists.items() if path.is_file() for item in self._set(kind, path)]
        if not items:
            raise ManifestError(
                f"{lists['train'].name} and {lists['val'].name} are missing in {self.root}\n{self.explain()}"
            )
        return items

    def choice(self) -> list[str]:
        """Return the command-line arguments that select this data set."""
        return [*super().choice(), f"data.judged={self.judged}"]

    def _set(self, kind: str, path: Path) -> list[Item]:
        entries = read_metadata(path)
        if lost := [name for name in entries if not (self.root / kind / name).is_file()]:
            raise ManifestError(missing(path, len(lost), len(entries), f"{kind}/{lost[0]}"))
        return [self._item(kind, name, entry, entries) for name, entry in entries.items()]

    def _item(self, kind: str, name: str, entry: Settings, entries: dict[str, Settings]) -> Item:
        person = next((part for part in PurePosixPath(name).parts if part.startswith("id")), name)
        origin, fake = entry.get("original"), self._fake(entry)
        known = origin in entries and origin != name and fake and not self._fake(entries[str(origin)])
        attributes: dict[str, int | str] = {
            "modified": entry["modify_type"],
            "sound_segments": segments(entry.get("audio_fake_segments") or ()),
            "image_segments": segments(entry.get("visual_fake_segments") or ()),
        }
        return Item(
            self._named(kind, name, entry), f"{kind}/{name}", int(fake), entry["modify_type"] if fake else "real",
            self._named(kind, str(origin), entries[str(origin)]) if known else None, (f"{self.name}/{person}",),
            predefined=SETS[kind], attributes=attributes,
        )  # fmt: skip

    def _fake(self, entry: Settings) -> bool:
        return is_fake(self.judged, *KINDS[entry["modify_type"]])

    def _named(self, kind: str, name: str, entry: Settings) -> str:
        method = entry["modify_type"] if self._fake(entry) else "real"
        return f"{self.name}/{method}/{kind}/{name.removesuffix('.mp4')}"


def segments(found: Iterable[Iterable[float]]) -> str:
    """Write segments (start, end) in s as text, such as `1.20-1.56;3.00-3.40`; "" if there are none."""
    return ";".join("-".join(f"{float(time):.2f}" for time in pair) for pair in found)


def read_metadata(path: Path) -> dict[str, Settings]:
    """Read a list of clips as {file: its entry}.

    Raises:
        ManifestError: the file has another format, or lists a clip twice.
    """
    example = '[{"file": "id00012/21Uxsk56VDQ/00001/real.mp4", "modify_type": "real", ...}, ...]'
    try:
        rows: list[Settings] = read_json(path)
        entries = {str(PurePosixPath(row["file"])): row for row in rows}
        wrong = [row for row in rows if row["modify_type"] not in KINDS]
    except ManifestError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError(f"{path}: expected {example} ({error!r})") from None
    if wrong:
        raise ManifestError(
            f"{path}: {wrong[0]['file']} has the modify_type '{wrong[0]['modify_type']}'; expected one of "
            f"{', '.join(KINDS)}"
        )
    if len(entries) < len(rows):
        raise ManifestError(f"{path}: {len(rows) - len(entries)} clips are listed twice; delete the wrong entries")
    if outside := [name for name in entries if name.startswith("/") or ".." in PurePosixPath(name).parts]:
        raise ManifestError(f"{path}: {outside[0]}: expected a path below the folder of the list")
    return entries
