"""Faces of two or more named people, each in a folder of videos or photographs: training data for a face swapper.

Each person must be in training, validation and test. Therefore some files of each person are held out from training. If
a person has only one video, the end of this video is held out.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.data.blend import BROWS, CANVAS, FROM, PARTS, UNIT, fit
from unmask.data.dataset import CropDataset, Order, Sampling
from unmask.data.manifest import Item, ManifestError
from unmask.data.recipe import Recipe
from unmask.data.source import Source
from unmask.data.split import Split
from unmask.data.stores import Store
from unmask.media.kinds import MEDIA

HELD = ("val", "test")
ABOVE = 0.1  # how far the mask extends above the brows, in units of the mean face


class People(Source):
    """Named people, all real, each in a folder of videos or photographs.

    Args:
        name: name of the data set: letters, digits, `_` and `-`.
        root: the folder that contains the files of all people.
        people: name -> pattern of files or folders below the root, such as `A/**` or `clips/id3_*.mp4`.
        demo: see `Source`.
    """

    LAYOUT = """\
  A/**     one person's videos or photographs
  B/**     another person's
To use other paths, set, for example, data.people.A='films/anna_*.mp4'. To add a third person, set
+data.people.C='C/**'. Use only material of people who consented."""
    DISJOINT = ()
    PROTOCOL_WORDS = {
        "random_groups": "for each person, whole files are held out at random with seed {seed}, or the end of the only "
        "video; the held-out frames are divided in order, first validation, then test, so these two may share videos "
        "but no frame"
    }

    def __init__(self, name: str, root: str | Path, people: Mapping[str, str], demo: bool = False) -> None:
        if wrong := [key for key in (name, *people) if not re.fullmatch(r"[\w-]+", str(key))]:
            where = f"data.name={name}" if wrong[0] == name else f"data.people.{wrong[0]}"
            raise ValueError(f"{where}: expected a name of letters, digits, _ and -")
        if len(people) < 2:
            raise ValueError(f"data.people: expected at least two people, but got {', '.join(people) or 'none'}")
        super().__init__(name, root, demo)
        self.people = {str(key): str(pattern) for key, pattern in people.items()}

    def find_items(self) -> list[Item]:
        """Return one item per file; the item's name contains the person and the path of the file."""
        found: dict[str, tuple[str, Path]] = {}
        for person in self.people:
            files = list(self.files(person))
            if not files:
                raise ManifestError(
                    f"data.people.{person}={self.people[person]}: no video or picture in {self.root}\n{self.explain()}"
                )
            for file in files:
                where = file.relative_to(self.root).as_posix()
                if where in found:
                    raise ManifestError(f"data.people: {where} belongs to both {found[where][0]} and {person}")
                found[where] = person, file
        stems = [Path(where).with_suffix("") for where in found]
        return [
            Item(self._item(person, where, stems.count(Path(where).with_suffix("")) > 1), where, 0, "real",
                 groups=(f"{self.name}/{person}",))
            for where, (person, _) in found.items()
        ]  # fmt: skip

    def files(self, person: str) -> Iterator[Path]:
        """Yield the videos and pictures of a person in alphabetical order, without hidden files."""
        matches = set(self.root.glob(self.people[person]))
        inside = {file for match in matches if match.is_dir() for file in match.rglob("*")}
        for file in sorted(matches | inside):
            hidden = any(part.startswith(".") for part in file.relative_to(self.root).parts)
            if file.suffix.lower() in MEDIA and not hidden and not file.is_dir():
                yield file

    def _item(self, person: str, where: str, ambiguous: bool) -> str:
        return f"{self.name}/real/{person}/{where if ambiguous else Path(where).with_suffix('').as_posix()}"

    def choice(self) -> list[str]:
        """Return the command-line arguments that select this data set."""
        usual = {"A": "A/**", "B": "B/**"}
        given = [f"data.people.{k}={v}" if k in usual else f"+data.people.{k}={v}"
                 for k, v in self.people.items() if usual.get(k) != v]  # fmt: skip
        return ["data=people", f"data.name={self.name}", *given]


@dataclass(frozen=True)
class PeopleSplit(Split):
    """The split for face swaps: files of each person are held out, see `split_per_identity`.

    The fractions are shares of each person's crops.
    """

    protocol: str = "random_groups"
    test_fraction: float = 0.1
    only: str | None = "real"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.protocol != "random_groups":
            raise ValueError(
                f"data.split.protocol={self.protocol}: expected random_groups, the only protocol for face swaps"
            )

    def divide(
        self, items: pd.DataFrame, crops: pd.DataFrame | None, source: Source
    ) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """Divide the items according to their crops; before preparation (`crops` is None), return `items` unchanged."""
        if crops is None:
            return items, None
        return split_per_identity(items, crops, self.val_fraction, self.test_fraction, self.seed)

    def unread(self, source: Source) -> list[tuple[str, str]]:
        """Return the settings that have no effect on face swaps, as (name, reason)."""
        why = "a face swapper is trained on all crops that are not held out"
        return [(f"split.{name}", why) for name in ("leave_out", "train_fraction")]


@dataclass(frozen=True)
class PeopleSampling(Sampling):
    """The sampling for face swaps: all people are equally frequent, and batches contain `identity` and `mask`.

    Args:
        people: see `People`; `identity` is the position of the person in this mapping.
    """

    balance: str = "none"
    people: Mapping[str, str] = field(default_factory=dict)

    def samples(
        self,
        store: Store,
        items: pd.DataFrame,
        recipe: Recipe,
        seed: int | None = None,
        augment: Callable[[Tensor, list[int]], Tensor] | None = None,
        masks: bool = False,
        attributes: Sequence[str] = (),
    ) -> "PeopleDataset":
        """Return the samples of these items, with their identities and landmarks."""
        data = PeopleDataset(store, items, self, seed, augment)
        place = {str(person): number for number, person in enumerate(self.people)}
        whose = {
            item: place[groups[0].rpartition("/")[2]]
            for item, groups in zip(items["item"], items["groups"], strict=True)
        }
        data.identity = torch.tensor([whose[item] for item in data.table["item"]], dtype=torch.int64)
        data.landmarks = landmarks(store.crops.iloc[data._row], recipe)
        return data

    def order(self, samples: CropDataset) -> tuple[Order, int]:
        """Return a function that draws an epoch's order with equally many faces per person, and the unit 1.

        The unit is the number of successive samples that must stay on one process.
        """
        assert isinstance(samples, PeopleDataset)
        return partial(identity_balanced_order, samples.identity.numpy()), 1


class PeopleDataset(CropDataset):
    """A `CropDataset` with `identity` int64 [B] and `mask` uint8 [B, 1, S, S], 255 inside the outline of the face."""

    identity: Tensor  #: index of each sample's person in `data.people` [N]
    landmarks: NDArray[np.float32]  #: landmarks of each crop, crop px [N, 5, 2]

    def __getitems__(self, wanted: list[tuple[int, int]]) -> dict[str, Tensor]:
        """Return one batch for (epoch, index) pairs."""
        batch = super().__getitems__(wanted)
        return batch | {"identity": self.identity[batch["index"]]}

    def _mask(self, flat: NDArray[np.int64]) -> Tensor:
        side = self.store.pixels(self._shard[flat[:1]], self._offset[flat[:1]]).shape[-1]
        shape = outline()
        drawn = np.stack([fit(shape, points, side) for points in self.landmarks[flat]])
        return torch.from_numpy((255 * drawn[:, None]).astype(np.uint8))


def outline() -> NDArray[np.float32]:
    """Return a mask of the mean face, from the jaw to above the brows, on the canvas of data/blend.py.

    `fit` warps this mask to a face. The mask is 1 inside and extends a little above the brows, so that the brows remain
    inside when a swapper erodes and blurs the mask.
    """
    mask = np.zeros((CANVAS, CANVAS), np.float32)
    points = np.concatenate([PARTS["whole"], BROWS - np.array([0, ABOVE], np.float32)])
    hull = cv2.convexHull(np.rint((points - FROM) * UNIT).astype(np.int32))
    return np.asarray(cv2.fillConvexPoly(mask, hull, 1.0), np.float32)


def landmarks(crops: pd.DataFrame, recipe: Recipe) -> NDArray[np.float32]:
    """Return the landmarks [N, 5, 2] of these crops in crop px.

    Raises:
        ManifestError: some crops have no landmarks.
    """
    box = np.array(crops["box"].tolist(), np.float32).reshape(-1, 4)
    points = np.array(crops["landmarks"].tolist(), np.float32).reshape(-1, 5, 2)
    if len(bare := np.flatnonzero(np.isnan(points).any((1, 2)))):
        raise ManifestError(
            f"{len(bare)} of {len(crops)} crops have no landmarks, such as those of {crops['item'].iloc[bare[0]]}, "
            "but face masks need landmarks: prepare with data/recipe=faces, or with data.recipe.landmarks=true"
        )
    return np.asarray(recipe.landmarks_in_crop(box, points), np.float32) if len(points) else points


def identity_balanced_order(identity: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return N positions of `identity` [N] in random order, equally many per person; rare persons are repeated."""
    people = np.unique(identity)
    each = -(-len(identity) // len(people))
    rows = [np.resize(rng.permutation(np.flatnonzero(identity == person)), each) for person in people]
    return np.asarray(rng.permutation(np.concatenate(rows))[: len(identity)])


def split_per_identity(
    items: pd.DataFrame, crops: pd.DataFrame, val_fraction: float, test_fraction: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold out whole files of each person or, if a person has only one file, the end of this file.

    The held-out frames are divided in order: first validation, then test. If a file is divided among splits, its frames
    in the second and third split become separate items, named `ITEM#val` or `ITEM#test`.

    Args:
        items: items of the manifest; the first group of an item is the person.
        crops: crops of the store, in order of item and frame.
        val_fraction: share of each person's crops for validation.
        test_fraction: share of each person's crops for test.
        seed: seed of the random choice of files.

    Raises:
        ManifestError: a person has too few crops for three splits.
    """
    split = pd.Series(None, index=crops.index, dtype=object)
    person = items.set_index("item")["groups"].map(lambda groups: groups[0])
    share = val_fraction + test_fraction
    for number, (who, rows) in enumerate(crops.groupby(crops["item"].map(person), sort=True)):
        order, held = _order(rows, share, np.random.default_rng([seed, number]))
        if len(rows) - held < 1 or held < 2:
            raise ManifestError(
                f"{who} has {len(rows)} usable faces, too few for three splits; add a video or more photographs"
            )
        first = min(held - 1, max(1, round(held * val_fraction / share))) if share else 1
        split.loc[order] = ["train"] * (len(rows) - held) + ["val"] * first + ["test"] * (held - first)
    return _parts(items, crops, split)


def _order(rows: pd.DataFrame, share: float, rng: np.random.Generator) -> tuple[pd.Index, int]:
    """Return the rows of a person's crops, with the held-out crops at the end, and the number of held-out crops."""
    by_time = rows.sort_values(["item", "frame", "track"], kind="stable")
    names = [str(name) for name in rng.permutation(sorted(rows["item"].unique()))]
    wanted = max(2, round(share * len(rows)))
    if len(names) == 1:
        return by_time.index, wanted
    totals = list(accumulate(int((rows["item"] == name).sum()) for name in names))
    enough = next(at for at, total in enumerate(totals, 1) if total >= wanted or at == len(names) - 1)
    out = by_time["item"].isin(names[:enough])
    return by_time.index[~out].append(by_time.index[out]), int(out.sum())


def _parts(items: pd.DataFrame, crops: pd.DataFrame, split: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give each item the first split that its crops are in; other crops become items `ITEM#val` or `ITEM#test`."""
    first = split.groupby(crops["item"]).agg(lambda found: min(found, key=("train", *HELD).index))
    apart = split != crops["item"].map(first)
    renamed = crops["item"].where(~apart, crops["item"] + "#" + split)
    more = crops[apart].assign(new=renamed[apart], split=split[apart]).drop_duplicates("new")
    items = items.assign(split=items["item"].map(first))
    added = items.set_index("item").loc[more["item"]].assign(split=more["split"].to_numpy()).reset_index()
    added["item"] = more["new"].to_numpy()
    if "sha256" in added:
        added["sha256"] = None  # the file is in two splits on purpose, so `check_leaks` must compare only its frames
    joined = pd.concat([items, added], ignore_index=True) if len(added) else items
    return joined, crops.assign(item=renamed)
