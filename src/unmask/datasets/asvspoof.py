"""ASVspoof 2019 LA (arXiv:1911.01601) and ASVspoof 2021 DF (arXiv:2109.00535): genuine and synthetic speech.

A line of a 2019 protocol is `SPEAKER FILE - SYSTEM KEY`; SYSTEM is the attack (`A01` to `A19`), `-` for genuine speech,
and KEY is `bonafide` or `spoof`. The training, development and evaluation sets have no speakers in common.

ASVspoof 2021 DF is an evaluation set. A line of its trial_metadata.txt is
`SPEAKER FILE CODEC SOURCE ATTACK KEY TRIM SUBSET VOCODER ...`; SUBSET is `progress`, `eval` or `hidden`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.datasets.lists import named_once, read_text

KEYS = {"bonafide": 0, "spoof": 1}
SETS = {"train": ("train", "trn"), "val": ("dev", "trl"), "test": ("eval", "trl")}  # split -> name, suffix of the list
SUBSETS = ("progress", "eval", "hidden")


class _Line(NamedTuple):
    """One utterance of a protocol."""

    speaker: str
    file: str
    label: int  # 0 genuine, 1 spoof
    attack: str  # `-` if the utterance is genuine
    more: tuple[str, ...] = ()  # further columns


class ASVspoof2019(Source):
    """ASVspoof 2019, logical access: the official protocols, one for each of training, development and evaluation."""

    HOME = "https://datashare.ed.ac.uk/handle/10283/3336 (LA.zip; ODC-By licence)"
    LAYOUT = """\
  ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.train.trn.txt    and .dev.trl.txt, .eval.trl.txt
  ASVspoof2019_LA_train/flac/LA_T_*.flac                           25,380 utterances of 20 speakers
  ASVspoof2019_LA_dev/flac/LA_D_*.flac                             24,844 utterances of 20 speakers
  ASVspoof2019_LA_eval/flac/LA_E_*.flac                            71,237 utterances of 67 speakers
A set whose protocol is missing is left out."""
    PROTOCOL_WORDS = {
        **Source.PROTOCOL_WORDS,
        "predefined": "the official training, development and evaluation sets, without common speakers",
    }
    DISJOINT = (*Source.DISJOINT, "predefined")
    PUBLISHED = {
        "asvspoof2019_la": {"real": 2580 + 2548 + 7355, "fake": 22_800 + 22_296 + 63_882}
    }  # its paper, table 2

    def find_items(self) -> list[Item]:
        """Return one item per utterance; the method of a spoof is the name of the attack."""
        root = self.root / "LA" if (self.root / "LA").is_dir() else self.root
        lists = {split: _protocol(root, *SETS[split]) for split in SETS}
        items = [item for split, path in lists.items() if path.is_file() for item in self._set(root, split, path)]
        if not items:
            raise ManifestError(f"no protocol in {lists['train'].parent}\n{self.explain()}")
        return items

    def _set(self, root: Path, split: str, path: Path) -> Iterator[Item]:
        lines = read_protocol(path)
        folder = root / f"ASVspoof2019_LA_{SETS[split][0]}" / "flac"
        require_files(path, [folder / f"{line.file}.flac" for line in lines])
        for line in lines:
            place = (folder / f"{line.file}.flac").relative_to(self.root).as_posix()
            yield item_of(self.name, line, place, split)


class ASVspoof2021(Source):
    """ASVspoof 2021, deepfake task: an evaluation set of compressed speech; all items are in the test split.

    Args:
        name: name of the data set.
        root: the folder with `ASVspoof2021_DF_eval` and the keys.
        subset: `eval` (the subset on which results are published), `progress`, `hidden` or `all`.
        demo: see `Source`.
    """

    HOME = (
        "https://zenodo.org/records/4835108, and the keys from https://www.asvspoof.org/index2021.html (ODC-By licence)"
    )
    LAYOUT = """\
  ASVspoof2021_DF_eval/flac/DF_E_*.flac    611,829 utterances; also in ASVspoof2021_DF_eval_part00/ASVspoof2021_DF_eval/
  keys/DF/CM/trial_metadata.txt            the keys; also in keys/CM/ or in data.root itself"""
    PROTOCOL_WORDS = {**Source.PROTOCOL_WORDS, "predefined": "all items are for testing"}

    def __init__(self, name: str, root: str | Path, subset: str = "eval", demo: bool = False) -> None:
        if subset not in (*SUBSETS, "all"):
            raise ValueError(f"data.subset={subset}: expected one of {', '.join((*SUBSETS, 'all'))}")
        super().__init__(name, root, demo)
        self.subset = subset

    def find_items(self) -> list[Item]:
        """Return one item per utterance of the subset; the method is the attack, and attributes give the codec."""
        path = next((self.root / place for place in KEY_FILES if (self.root / place).is_file()), None)
        if path is None:
            raise ManifestError(f"{KEY_FILES[0]} is missing in {self.root}\n{self.explain()}")
        lines = [line for line in read_keys(path) if self.subset in ("all", line.more[2])]
        found = {file.stem: file for folder in FLAC_FOLDERS for file in self.root.glob(f"{folder}/*.flac")}
        if lost := [line.file for line in lines if line.file not in found]:
            raise ManifestError(missing(path, len(lost), len(lines), f"{lost[0]}.flac"))
        return [
            item_of(
                self.name, line, found[line.file].relative_to(self.root).as_posix(), "test",
                {"codec": line.more[0], "source": line.more[1], "vocoder": line.more[3]},
            )
            for line in lines
        ]  # fmt: skip

    def choice(self) -> list[str]:
        """Return the command-line arguments that select this data set."""
        subset = [] if self.subset == "eval" else [f"data.subset={self.subset}"]
        return [*super().choice(), *subset]


KEY_FILES = ("keys/DF/CM/trial_metadata.txt", "keys/CM/trial_metadata.txt", "trial_metadata.txt")
FLAC_FOLDERS = ("ASVspoof2021_DF_eval/flac", "ASVspoof2021_DF_eval_part*/ASVspoof2021_DF_eval/flac", "flac")


def item_of(name: str, line: _Line, path: str, split: str, attributes: dict[str, str] | None = None) -> Item:
    """Return the item of an utterance; its group is the speaker."""
    method = line.attack if line.label else "real"
    item, groups = f"{name}/{method}/{line.file}", (f"{name}/{line.speaker}",)
    known: dict[str, int | str] = dict(attributes or {})
    return Item(item, path, line.label, method, groups=groups, predefined=split, attributes=known)


def read_protocol(path: Path) -> list[_Line]:
    """Read a protocol of ASVspoof 2019 LA.

    Raises:
        ManifestError: a line is malformed, or two lines contradict each other.
    """
    return _lines(
        path, 5, "SPEAKER FILE - SYSTEM KEY", lambda cells: _Line(cells[0], cells[1], KEYS[cells[4]], cells[3])
    )


def read_keys(path: Path) -> list[_Line]:
    """Read trial_metadata.txt of ASVspoof 2021 DF; `more` is (codec, source, subset, vocoder).

    Raises:
        ManifestError: a line is malformed, or two lines contradict each other.
    """

    def line(cells: list[str]) -> _Line:
        return _Line(cells[0], cells[1], KEYS[cells[5]], cells[4], (cells[2], cells[3], cells[7], cells[8]))

    return _lines(path, 9, "SPEAKER FILE CODEC SOURCE ATTACK KEY TRIM SUBSET VOCODER", line)


def require_files(listing: Path, files: list[Path]) -> None:
    """Raise an error if listed files are missing.

    Raises:
        ManifestError: the message says how many are missing, and names one.
    """
    there = {file for folder in {file.parent for file in files} for file in folder.glob("*")}
    if lost := [file for file in files if file not in there]:
        raise ManifestError(missing(listing, len(lost), len(files), str(lost[0])))


def missing(listing: Path, lost: int, total: int, example: str) -> str:
    """Return the error message for missing recordings."""
    return f"{lost} of {total} recordings in {listing} are missing, such as {example}: the download is incomplete"


def _protocol(root: Path, name: str, suffix: str) -> Path:
    return root / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{name}.{suffix}.txt"


def _lines(path: Path, least: int, columns: str, make: Callable[[list[str]], _Line]) -> list[_Line]:
    found = list[tuple[int, str, _Line]]()
    for number, text in enumerate(read_text(path).splitlines(), 1):
        cells = text.split()
        if not cells:
            continue
        try:
            line = make(cells) if len(cells) >= least else None
        except KeyError:  # the key is neither bonafide nor spoof
            line = None
        if line is None or (line.label == 1) == (line.attack in ("-", "bonafide")):
            raise ManifestError(
                f"{path}, line {number}: expected `{columns}` with the key bonafide (attack -) or spoof, but got "
                f"'{text[:80]}'"
            )
        found.append((number, line.file, line))
    return list(named_once(path, found).values())
