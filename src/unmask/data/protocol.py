"""Describe how metrics were computed (the evaluation protocol), as text for reports."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from unmask.data import duplicates
from unmask.data.dataset import Sampling
from unmask.data.prepared import Prepared
from unmask.data.recipe import Recipe
from unmask.data.split import Split
from unmask.metrics.aggregate import RECORDING, UNIT


class Description(NamedTuple):
    """The data and settings that `describe` needs to describe an evaluation protocol.

    Attributes:
        name: name of the data set.
        items: the manifest, with the splits and a column `dataset`.
        samples: the sample table of the split.
        sampling: how samples are taken.
        recipe: turns a file into crops.
        image_size: side of the network's input, px.
        members: the prepared crops of each data set, and the rule by which it is divided.
        blended: whether the fakes in training and validation are self-blends.
        features: description of the precomputed features of a frozen encoder; "" without them.
        fingerprint: fingerprint of the crops.
        duplicates: the pairs of items that look alike.
    """

    name: str
    items: pd.DataFrame
    samples: pd.DataFrame
    sampling: Sampling
    recipe: Recipe
    image_size: int
    members: Sequence[tuple[Prepared, Split]]
    blended: bool
    features: str
    fingerprint: str
    duplicates: pd.DataFrame


def describe(about: Description, split: str) -> dict[str, str]:
    """Return the evaluation protocol of a split, as {heading: text}."""
    how, items = about.sampling, about.items[about.items["split"] == split]
    # A single sample of a video is its middle frame, not frame 0. So if all samples are frame 0, items are pictures.
    still = about.samples["item"].is_unique and bool((about.samples["frame"] == 0).all())
    pictures = still and how.STORED and how.frames is None
    plural, singular = ("pictures", "picture") if pictures else how.NOUNS
    training = {"Training": "only real items, self-blended (arXiv 2204.08376)"} if about.blended else {}
    unit = {} if how.STORED else {UNIT: RECORDING}
    computed = {"Features": about.features} if about.features else {}
    alike = {"Duplicates": told} if (told := duplicates.words(about.duplicates)) else {}
    return (
        _tasks(about)
        | training
        | unit
        | {
            "Data": f"{about.name}, {split} split: {_held(items, plural, about.blended and split != 'test')}",
            "Split": _splits(about),
            "Samples": "each picture once" if pictures else how.words(about.recipe.burst),
            "Crop": about.recipe.words(about.image_size) + _chosen(about.recipe, items),
            **computed,
            "Decoder": str(about.recipe.describe()["decoder"]),
            "Manifest": about.fingerprint,
            "Aggregation": "none" if pictures else f"a {singular}'s score is the mean probability of its samples",
            **alike,
        }
    )


def _held(items: pd.DataFrame, noun: str, blended: bool) -> str:
    real = int((items["label"] == 0).sum())
    return (
        f"{real} real {noun} and their self-blends" if blended else f"{real} real and {len(items) - real} fake {noun}"
    )


def _tasks(about: Description) -> dict[str, str]:
    tasks = dict.fromkeys(part.source.TASK for part, _ in about.members if part.source.TASK)
    return {"Task": "; ".join(tasks)} if tasks else {}


def _splits(about: Description) -> str:
    """Describe the split of each data set; the names of the data sets are added only if there are several."""
    found = []
    for part, split in about.members:
        items = about.items[about.items["dataset"] == part.source.name]
        found.append((part.source.name, split.words(items, part.source)))
    if len(found) == 1:
        return found[0][1]
    return f"mixture ({'; '.join(f'{name}: {words}' for name, words in found)})"


def _chosen(recipe: Recipe, items: pd.DataFrame) -> str:
    masked = recipe.option == "faces" and bool(items["mask"].notna().any())
    return "; in fakes with a mask, only faces that the mask touches" if masked else ""
