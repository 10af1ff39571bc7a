"""Protocols: pure functions that assign items to the training, validation and test split.

Each function takes the table of items (columns `item, label, groups, source, official_test, predefined, rejected`) and
returns the split of each row, `train`, `val`, `test` or None. Validation items are always taken from training, never
from test.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from unmask.data.manifest import ManifestError, components


def official(items: pd.DataFrame, val_fraction: float = 0.1, seed: int = 0) -> pd.Series:
    """Use the official test list; hold out some of the filmed people (an item's first group) for validation.

    So no filmed person is in both training and validation, and a fake is in the same split as its source. Celeb-DF's
    official list puts some people into both training and test. Use `identity_disjoint` to avoid this.
    """
    splits = pd.Series(np.where(items["official_test"].astype(bool), "test", "train"), index=items.index, dtype=object)
    if not (splits == "test").any():
        raise ManifestError(
            "no item is on the official test list: check that the list and the folder are complete. For a data set "
            "without such a list, set data.split.protocol=predefined or random_groups"
        )
    rest = items[splits == "train"]
    filmed = pd.Series([list(groups)[:1] for groups in rest["groups"]], index=rest.index, dtype=object)
    first = _component(rest.assign(groups=filmed))
    splits.loc[_deal(rest, first, val_fraction, seed)] = "val"
    return splits


def identity_disjoint(
    items: pd.DataFrame, val_fraction: float = 0.1, test_fraction: float = 0.2, seed: int = 0
) -> pd.Series:
    """Hold out whole components of the swap graph, so that no person is in two splits.

    A swap connects the person filmed and the person swapped in. Components that are entirely on the official test list
    form the test split. If there are no such components, the test split is drawn at random by `seed`. The largest
    component outside the test split is always used for training.
    """
    component = _component(items)
    whole = items["official_test"].astype(bool).groupby(component).transform("all")
    splits = pd.Series("train", index=items.index, dtype=object)
    largest = component.value_counts().sort_index().idxmax() if not whole.any() else None
    if whole.any():
        splits[whole] = "test"
    else:
        free = items[component != largest]
        share = test_fraction * len(items) / max(len(free), 1)
        splits.loc[_deal(free, component.loc[free.index], share, seed)] = "test"
        if not (splits == "test").any():
            raise ManifestError(
                "no group of people who are connected by swaps can be held out for the test split "
                f"(test_fraction={test_fraction:g}, {component.nunique()} groups); set data.split.protocol=official or "
                "predefined, or increase data.split.test_fraction"
            )
    rest = items[splits == "train"]
    free = rest[component.loc[rest.index] != _largest(component.loc[rest.index])]
    share = val_fraction * len(rest) / max(len(free), 1)
    splits.loc[_deal(free, component.loc[free.index], share, seed + 1)] = "val"
    return splits


def predefined(items: pd.DataFrame, val_fraction: float = 0.1, seed: int = 0) -> pd.Series:
    """Use the data set's own splits; if there is no validation split, hold out whole groups of the training split."""
    splits = items["predefined"].astype(object)
    if splits.isna().any():
        raise ManifestError(
            f"{int(splits.isna().sum())} of {len(items)} items have no predefined split; set "
            "data.split.protocol=random_groups"
        )
    rest = items[splits == "train"]
    if len(rest) and not (splits == "val").any():
        splits.loc[_deal(rest, _component(rest), val_fraction, seed)] = "val"
    return splits


def random_groups(
    items: pd.DataFrame, val_fraction: float = 0.1, test_fraction: float = 0.2, seed: int = 0
) -> pd.Series:
    """Assign whole groups at random by `seed`: first to test, then to validation, and all remaining groups to training.

    With `test_fraction=1`, all items are in the test split. Use this for a data set that is only for evaluation.
    """
    if test_fraction >= 1:
        return pd.Series("test", index=items.index, dtype=object)
    component = _component(items)
    for label in sorted(items["label"].unique()):  # data for generators has only real items
        if (found := component[items["label"] == label].nunique()) < 3:
            raise ManifestError(
                f"the {'fake' if label else 'real'} items form {found} group{'s' * (found != 1)}, too few for three "
                "splits: add data. With data=folder, define smaller groups with data.group=REGEX, or sort the files "
                f"into train/ val/ test/ yourself{_twins(items)}"
            )
    splits = pd.Series("train", index=items.index, dtype=object)
    splits.loc[_deal(items, component, test_fraction, seed)] = "test"
    rest = items[splits == "train"]
    splits.loc[_deal(rest, component.loc[rest.index], val_fraction, seed + 1)] = "val"
    return splits


PROTOCOLS: dict[str, Callable[..., pd.Series]] = {
    "official": official,
    "identity_disjoint": identity_disjoint,
    "predefined": predefined,
    "random_groups": random_groups,
}
DEAL_TEST = ("identity_disjoint", "random_groups")  # protocols that use `test_fraction`


def part_of_training(items: pd.DataFrame, splits: pd.Series, fraction: float, seed: int) -> pd.Series:
    """Keep about `fraction` of the training items of each class, in whole groups drawn by `seed`; the rest get None."""
    rest = items[splits == "train"]
    kept = _deal(rest, _component(rest), fraction, seed)
    return splits.mask(splits.eq("train") & ~splits.index.isin(kept), None)


def _component(items: pd.DataFrame) -> pd.Series:
    """Return for each row the connected component of its groups; a row without groups forms its own component.

    With the column `sha256`, files with the same bytes are also connected. With the column `twin` (see
    duplicates.joined), unrelated items that look alike are also connected.
    """
    groups = [list(row) or [item] for item, row in zip(items["item"], items["groups"], strict=True)]
    for column in [name for name in ("sha256", "twin") if name in items]:
        twice = items[column].notna() & items[column].duplicated(keep=False)
        # A component is named after its alphabetically first member; ~ sorts last, so the added members change no name.
        groups = [row + [f"~{same}"] * bool(two) for row, same, two in zip(groups, items[column], twice, strict=True)]
    of = components(groups)
    return pd.Series([of[row[0]] for row in groups], index=items.index)


def _twins(items: pd.DataFrame) -> str:
    """Return an ending for an error message: how many items are grouped because they look alike; "" if none are."""
    count = int(items["twin"].notna().sum()) if "twin" in items else 0
    return (
        f". {count} items are grouped with items that look like them: see duplicates.csv beside the prepared crops, or "
        "ungroup them with data.split.allow_duplicates=true"
        if count
        else ""
    )


def _largest(component: pd.Series) -> str:
    return str(component.value_counts().sort_index().idxmax()) if len(component) else ""


def _deal(items: pd.DataFrame, group: pd.Series, fraction: float, seed: int) -> pd.Index:
    """Choose whole groups in a random order drawn by `seed`; return the rows, about `fraction` of each class."""
    # Number the groups in the order of their names: with hundreds of thousands of groups, numbers are faster.
    number, names = pd.factorize(group, sort=True)
    usable = items["rejected"].isna().to_numpy()
    counts = np.zeros((len(names), 2), np.int64)
    np.add.at(counts, (number[usable], items["label"].to_numpy(int)[usable]), 1)
    total = counts.sum(axis=0)
    # Want at least one item of each class that has more than one item.
    wanted = np.maximum(total * min(fraction, 1.0), total > 1) * float(fraction > 0)
    order = np.arange(len(names))
    np.random.default_rng(seed).shuffle(order)
    (want_real, want_fake), real, fake, chosen = wanted.tolist(), 0, 0, []
    for which, (more_real, more_fake) in zip(order, counts[order].tolist(), strict=True):
        # Take a group only if it reduces the total difference between the counts of both classes and the wanted counts.
        before = abs(real - want_real) + abs(fake - want_fake)
        if abs(real + more_real - want_real) + abs(fake + more_fake - want_fake) < before:
            chosen.append(which)
            real, fake = real + more_real, fake + more_fake
    return items.index[np.isin(number, np.array(chosen, np.int64))]
