"""DeepfakeArt's inpainting category (arXiv:2306.01272), and the output of `unmask inpaint` in the same layout.

The data set was made to detect whether one of two pictures is a copy of the other. Here, the task is to classify single
pictures as original or inpainted; masks show the inpainted regions. The files group.png, which show original and
forgery side by side, are ignored. A copy may contain the originals alone: `unmask inpaint` makes forgeries of them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.datasets.celebdf import read_methods
from unmask.datasets.lists import read_json

CATEGORY = "similar/inpainting"
LISTED = re.compile(rf"(?:.*/)?{CATEGORY}/([^/]+)/([^/]+)")
FORGERY = re.compile(r"inpainting(?:_(.+))?\.png")
NO_MASK = "none"  # attribute `mask` of an original; that of a forgery is the name of its mask, such as upper_left


class DeepfakeArt(Source):
    """DeepfakeArt: one folder per painting, with the original, its inpaintings and their masks (white = repainted)."""

    HOME = "https://github.com/h-aboutalebi/DeepfakeArt (for research), or made by `unmask inpaint`"
    TASK = (
        "classify single pictures as original or inpainted; the data set's own task is to tell whether two pictures "
        "are similar"
    )
    LAYOUT = f"""\
  {CATEGORY}/N/original.png                            5,063 paintings
  {CATEGORY}/N/inpainting.png                          the same, partly inpainted
  {CATEGORY}/N/mask.png                                white where inpainted
  {CATEGORY}/N/inpainting_MASK.png, mask_MASK.png      instead or in addition: one pair per mask
  similar/train_similar.json, similar/test_similar.json          optional: the official split
  methods.csv                                                    optional: `path,method` for several methods
The originals alone are enough for `unmask inpaint`, which makes forgeries of them."""
    PROTOCOL_WORDS = {
        **Source.PROTOCOL_WORDS,
        "predefined": "the official lists; a painting and everything made from it stay together",
        "identity_disjoint": "a painting and everything made from it stay together",
        "random_groups": "a painting and everything made from it stay together, assigned at random with seed {seed}",
    }
    DISJOINT = (*Source.DISJOINT, "predefined")
    ELSE_RANDOM_GROUPS = True
    PUBLISHED = {"deepfakeart": {"real": 5063, "fake": 5063}}  # arXiv:2306.01272, inpainting: 5,063 pairs

    def find_items(self) -> list[Item]:
        """Return the original and the forgeries of each painting; only the originals if there is no forgery at all."""
        place = self.root / CATEGORY
        folders = sorted(entry for entry in place.iterdir() if entry.is_dir()) if place.is_dir() else []
        if not folders:
            raise ManifestError(f"no folders of paintings in {place}\n{self.explain()}")
        methods = read_methods(self.root / "methods.csv")
        paintings = {folder: list(self._painting(folder, methods)) for folder in folders}
        bare = [folder for folder, found in paintings.items() if len(found) == 1]
        if 0 < len(bare) < len(folders):
            raise ManifestError(f"{bare[0] / 'inpainting.png'} is missing: the download is incomplete")
        items = [item for found in paintings.values() for item in found]
        split_of = self._lists({item.path for item in items}, only_originals=bool(bare))
        return [replace(item, predefined=split_of.get(item.path.split("/")[2])) for item in items]

    def require(self, protocol: str, items: Sequence[Item]) -> None:
        """Raise an error if the protocol uses the official lists, but some paintings are not on these lists."""
        unlisted = [item.path for item in items if item.predefined is None]
        if protocol == "predefined" and unlisted and len(unlisted) < len(items):
            raise ManifestError(
                f"{len(unlisted)} pictures, such as {unlisted[0]}, belong to paintings that no official list contains; "
                "data.split.protocol=random_groups splits all pictures at random"
            )

    def _painting(self, folder: Path, methods: dict[str, str]) -> Iterator[Item]:
        """Yield the original and any forgeries in the folder of one painting, with masks if there are any."""
        number, where = folder.name, f"{CATEGORY}/{folder.name}"
        files = {file.name for file in folder.iterdir()}
        forgeries = {name: match.group(1) for name in sorted(files) if (match := FORGERY.fullmatch(name))}
        if "original.png" not in files:
            raise ManifestError(f"{folder / 'original.png'} is missing: the download is incomplete")
        real, groups = f"{self.name}/real/{number}", (f"{self.name}/{number}",)
        named = any(forgeries.values())
        yield Item(
            real, f"{where}/original.png", 0, "real", groups=groups, attributes={"mask": NO_MASK} if named else {}
        )
        for name, kind in forgeries.items():
            mask = f"mask_{kind}.png" if kind else "mask.png"
            method = methods.get(f"{where}/{name}".lower(), "inpainting")
            clip = f"{number}_{kind}" if kind else number
            yield Item(
                f"{self.name}/{method}/{clip}",
                f"{where}/{name}",
                1,
                method,
                source=real,
                groups=groups,
                mask=f"{where}/{mask}" if mask in files else None,
                attributes={"mask": kind} if kind else {},
            )

    def _lists(self, on_disk: set[str], only_originals: bool) -> dict[str, str]:
        """Return the split of each painting in the official lists; empty if there are no lists."""
        files = {split: self.root / "similar" / f"{split}_similar.json" for split in ("train", "test")}
        missing = [path for path in files.values() if not path.is_file()]
        if len(missing) == 1:
            raise ManifestError(f"{missing[0]} is missing, but the other list of the official split exists")
        split_of: dict[str, str] = {}
        for split, path in files.items() if not missing else ():
            for number, pair in read_pairs(path):
                names = pair[:1] if only_originals else pair
                for lost in (name for name in names if f"{CATEGORY}/{number}/{name}" not in on_disk):
                    raise ManifestError(
                        f"{path} lists {CATEGORY}/{number}/{lost}, but {self.root} lacks it: the download is incomplete"
                    )
                if split_of.setdefault(number, split) != split:
                    raise ManifestError(f"{path}: painting {number} is also in {split_of[number]}_similar.json")
        return split_of

    def choice(self) -> list[str]:
        """Return the command-line arguments that select this data set."""
        if self.demo or self.name == "deepfakeart":
            return super().choice()
        return ["data=deepfakeart", f"data.name={self.name}"]


def read_pairs(path: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield (painting, (file name of the original, file name of the forgery)) for each inpainting in an official list.

    The list has the format `{attack: {index: {original, generated}}}`.

    Raises:
        ManifestError: the file has another format, or original and forgery are swapped.
    """
    try:
        entries = [entry for attack in read_json(path).values() for entry in attack.values()]
        pairs = [(str(entry["original"]), str(entry["generated"])) for entry in entries]
    except ManifestError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        example = '{attack: {index: {"original": PATH, "generated": PATH}}}'
        raise ManifestError(f"{path}: expected {example} ({error!r})") from None
    for pair in pairs:
        original, forgery = (LISTED.fullmatch(name.replace("\\", "/")) for name in pair)
        if original is None or forgery is None:  # another category
            continue
        if original.group(2) != "original.png" or not FORGERY.fullmatch(forgery.group(2)):
            raise ManifestError(f"{path}: {pair[0]} is listed as the original of {pair[1]}: are the two swapped?")
        yield original.group(1), (original.group(2), forgery.group(2))
