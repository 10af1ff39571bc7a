"""FaceForensics++ (arXiv:1901.08971), with FaceShifter and Google's DeepFakeDetection in the same layout.

In the fake `<target>_<source>.mp4`, the face or expression of the video `source` was transferred to the video `target`.
The official lists contain pairs of videos. Within a pair, each video is the source for a fake of the other.
DeepFakeDetection shows actors (`<target>_<source>__<scene>__<id>.mp4`) and has no lists. Published work uses all of
DeepFakeDetection for testing, and so does the protocol `predefined`. The other 1,000 sequences come from 977 YouTube
videos, so a few people may be in two splits.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pandas as pd

from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.datasets.lists import read_json, the_only

FOUR = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
ACTED = "DeepFakeDetection"
METHODS = (*FOUR, "FaceShifter", ACTED)
LISTS = ("train.json", "val.json", "test.json")
ORIGINAL = {"youtube": re.compile(r"(\d{3})"), "actors": re.compile(r"(\d{2})__.+")}
FAKE = {"youtube": re.compile(r"(\d{3})_(\d{3})"), "actors": re.compile(r"(\d{2})_(\d{2})__(.+)__\w{8}")}
EXAMPLE = {
    "youtube": "033.mp4 or, for a fake, 033_097.mp4",
    "actors": "01__hugging.mp4 or, for a fake, 01_02__hugging__YTHVB2AM.mp4",
}


class FaceForensics(Source):
    """FaceForensics++: originals and fakes at one compression level, with the official lists of pairs.

    Args:
        name: name of the data set; use a different name for each compression.
        root: folder of the data set.
        compression: the compression level, which is also the name of the folder: `raw`, `c23` or `c40`.
        methods: the manipulations to use; prepared crops of other manipulations are ignored.
        demo: see `Source`.
    """

    HOME = "https://github.com/ondyari/FaceForensics (fill in the form to get a download script; for research)"
    LAYOUT = f"""\
  original_sequences/youtube/c23/videos/NNN.mp4              1,000 videos
  original_sequences/actors/c23/videos/NN__SCENE.mp4         only for {ACTED}
  manipulated_sequences/METHOD/c23/videos/NNN_NNN.mp4        1,000 videos per method; TARGET_SOURCE
  manipulated_sequences/METHOD/masks/videos/NNN_NNN.mp4      optional: the altered region
  train.json val.json test.json                              the official pairs, here or in splits/; copy them
                                                             from dataset/splits of the repository above
  METHOD is {", ".join(METHODS)}"""
    DISJOINT = (*Source.DISJOINT, "predefined")
    PROTOCOL_WORDS = {
        **Source.PROTOCOL_WORDS,
        "predefined": "the official lists: no sequence is in two splits, as target or as source",
        "identity_disjoint": "no sequence is in two splits, as target or as source",
    }

    def __init__(
        self,
        name: str,
        root: str | Path,
        compression: str = "c23",
        methods: Sequence[str] = FOUR,
        demo: bool = False,
    ) -> None:
        if unknown := [method for method in methods if method not in METHODS]:
            raise ValueError(f"data.methods: unknown {', '.join(unknown)}; expected some of {', '.join(METHODS)}")
        if not methods:
            raise ValueError(f"data.methods: choose at least one of {', '.join(METHODS)}")
        self.compression, self.methods = compression, list(methods)
        super().__init__(name, root, demo)

    @property
    def origins(self) -> list[str]:
        """The folders that contain the originals of the chosen methods."""
        return [
            *(["youtube"] if set(self.methods) - {ACTED} else []),
            *(["actors"] if ACTED in self.methods else []),
        ]

    def find_items(self) -> list[Item]:
        """Return one item per video; groups and sources are taken from the file names."""
        pairs = self._pairs() if "youtube" in self.origins else {}
        split_of = {number: split for split, found in pairs.items() for pair in found for number in pair}
        items = [self._original(path, origin) for origin in self.origins for path in self._videos(origin, True)]
        items += [self._fake(path, method) for method in self.methods for path in self._videos(method, False)]
        on_disk = {item.item for item in items}
        return [
            replace(
                item, predefined=self._official(item, split_of), source=item.source if item.source in on_disk else None
            )
            for item in items
        ]

    def require(self, protocol: str, items: Sequence[Item]) -> None:
        """Raise an error if `predefined` is chosen, but the official lists are missing or do not match the videos."""
        if protocol != "predefined":
            return
        pairs = self._pairs() if "youtube" in self.origins else {}
        if not pairs and "youtube" in self.origins:
            raise ManifestError(self._no_lists())
        for item in items:
            if item.predefined is None:
                members = " and ".join(group.rpartition("/")[2] for group in item.groups)
                raise ManifestError(f"{item.path}: expected {members} in one of the official lists")
        if pairs:
            self._check_complete(items, pairs)

    def published(self, items: pd.DataFrame) -> dict[str, int]:
        """Return 1,000 reals and 1,000 fakes per method (dataset/README.md of HOME); {} with DeepFakeDetection."""
        return {} if self.demo or ACTED in self.methods else {"real": 1000, "fake": 1000 * len(self.methods)}

    def _videos(self, folder: str, original: bool) -> list[Path]:
        above = self.root / ("original_sequences" if original else "manipulated_sequences") / folder
        place = above / self.compression / "videos"
        files = sorted(place.glob("*.mp4")) if place.is_dir() else []
        if not files:
            there = sorted(entry.name for entry in above.glob("*") if entry.is_dir() and entry.name != "masks")
            hint = f" (set data.compression to {' or '.join(there)})" if there and not place.is_dir() else ""
            raise ManifestError(f"no .mp4 in {place}{hint}\n{self.explain()}")
        return files

    def _original(self, path: Path, origin: str) -> Item:
        number = _match(ORIGINAL[origin], path, origin).group(1)
        where = path.relative_to(self.root).as_posix()
        return Item(f"{self.name}/{origin}/{path.stem}", where, 0, "real", groups=(f"{self.name}/{origin}/{number}",))

    def _fake(self, path: Path, method: str) -> Item:
        origin = "actors" if method == ACTED else "youtube"
        target, donor, *scene = _match(FAKE[origin], path, origin).groups()
        where, mask = path.relative_to(self.root), path.parents[2] / "masks" / "videos" / path.name
        return Item(
            f"{self.name}/{method}/{path.stem}",
            where.as_posix(),
            1,
            method,
            source=f"{self.name}/{origin}/{'__'.join([target, *scene])}",
            groups=tuple(f"{self.name}/{origin}/{number}" for number in (target, donor)),
            mask=mask.relative_to(self.root).as_posix() if mask.exists() else None,
        )

    def _pairs(self) -> dict[str, list[tuple[str, str]]]:
        """Return the pairs of each official list; empty if there are no lists."""
        folders = [folder for folder in (self.root, self.root / "splits") if (folder / "test.json").is_file()]
        for name in LISTS if len(folders) > 1 else ():
            the_only([folder / name for folder in folders], f"the official {name}")
        files = {name.removesuffix(".json"): (folders or [self.root])[0] / name for name in LISTS}
        missing = [path.name for path in files.values() if not path.is_file()]
        if missing and folders:
            raise ManifestError(self._no_lists(missing))
        found = {} if missing else {split: read_pairs(path) for split, path in files.items()}
        seen: dict[str, str] = {}
        for split, pairs in found.items():
            for number in (number for pair in pairs for number in pair):
                if seen.setdefault(number, split) != split:
                    raise ManifestError(f"{files[split]}: video {number} is also in {seen[number]}.json")
        return found

    def _no_lists(self, missing: Sequence[str] = LISTS) -> str:
        return (
            f"{', '.join(missing)} of the official split {'is' if len(missing) == 1 else 'are'} missing in "
            f"{self.root}: copy dataset/splits of https://github.com/ondyari/FaceForensics there, or choose "
            "data.split.protocol=identity_disjoint or random_groups, which need no lists"
        )

    def _official(self, item: Item, split_of: dict[str, str]) -> str | None:
        """Return the official split of an item, or None; all items of DeepFakeDetection are in the test split."""
        members = [group.rpartition("/")[2] for group in item.groups]
        if item.groups[0].startswith(f"{self.name}/actors/"):
            return "test"
        splits = {split_of.get(number) for number in members}
        return splits.pop() if len(splits) == 1 else None

    def _check_complete(self, items: Sequence[Item], pairs: dict[str, list[tuple[str, str]]]) -> None:
        every = [pair for found in pairs.values() for pair in found]
        wanted = [f"{self.name}/youtube/{number}" for pair in every for number in pair]
        for method in (method for method in self.methods if method != ACTED):
            wanted += [f"{self.name}/{method}/{a}_{b}" for pair in every for a, b in permutations(pair)]
        on_disk = {item.item for item in items}
        if lost := [name for name in wanted if name not in on_disk]:
            raise ManifestError(
                f"{self.root} lacks {len(lost)} of the {len(wanted)} videos on the official lists, such as "
                f"{lost[0].partition('/')[2]}: the download is incomplete; data.split.protocol=identity_disjoint or "
                "random_groups uses the videos that exist"
            )

    def used(self, items: pd.DataFrame, protocol: str) -> pd.Series:
        """Return for each item [N] whether it is a fake of a chosen method or an original of such fakes."""
        if absent := sorted(set(self.methods) - set(items["method"])):
            raise ManifestError(
                f"data.methods: no crops of {', '.join(absent)} are prepared; prepare again with rerun=true, or choose "
                "other methods"
            )
        origin = items["item"].str.split("/").str[1]
        used = (items["label"] == 1) & items["method"].isin(self.methods) | origin.isin(self.origins)
        if protocol == "predefined" and items.loc[used, "predefined"].isna().any():
            raise ManifestError(
                f"{self._no_lists()}. If you added the lists after preparing, prepare again with rerun=true"
            )
        return used

    def choice(self) -> list[str]:
        """Return the command-line arguments that select this data set."""
        methods = [f"data.methods=[{','.join(self.methods)}]"] if self.methods != list(FOUR) else []
        return ["data=faceforensics", f"data.compression={self.compression}", *methods]


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read the pairs of video numbers in an official list.

    Raises:
        ManifestError: the file does not contain a list of such pairs.
    """
    try:
        pairs = [(str(a), str(b)) for a, b in read_json(path)]
    except ManifestError:
        raise
    except (ValueError, TypeError) as error:
        raise ManifestError(f'{path}: expected a list of pairs like ["033", "097"] ({error})') from None
    if wrong := [pair for pair in pairs if not all(ORIGINAL["youtube"].fullmatch(number) for number in pair)]:
        raise ManifestError(f"{path}: expected pairs of three-digit video numbers, but got {list(wrong[0])}")
    return pairs


def _match(pattern: re.Pattern[str], path: Path, origin: str) -> re.Match[str]:
    if (match := pattern.fullmatch(path.stem)) is None:
        raise ManifestError(f"{path}: expected a name like {EXAMPLE[origin]}")
    return match
