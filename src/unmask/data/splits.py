"""Protocols: which items are for training, for validation and for the one test. Pure functions of the item table.

Each takes the table of items (columns `item, label, groups, source, official_test, predefined, rejected`) and returns
the split of each row, `train`, `val`, `test` or None. Validation is always carved from the training domain,
never from test.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from unmask.data.manifest import ManifestError, components


def official(items: pd.DataFrame, val_fraction: float = 0.1, seed: int = 0) -> pd.Series:
    """The official test list; validation from the rest, by the person filmed (the first group).

    So no filmed person is in both training and validation, and a fake stays with its source. The official lists of
    Celeb-DF share people between training and test: use `identity_disjoint` to measure without that.
    """
    splits = pd.Series(np.where(items["official_test"].astype(bool), "test", "train"), index=items.index, dtype=object)
    if not (splits == "test").any():
        raise ManifestError(
            "no item is on an official test list: is the list complete, and the folder? A data set without one needs "
            "protocol=predefined or protocol=random_groups"
        )
    rest = items[splits == "train"]
    filmed = pd.Series([list(groups)[:1] for groups in rest["groups"]], index=rest.index, dtype=object)
    first = _component(rest.assign(groups=filmed))
    splits.loc[_deal(rest, first, val_fraction, seed)] = "val"
    return splits


def identity_disjoint(
    items: pd.DataFrame, val_fraction: float = 0.1, test_fraction: float = 0.2, seed: int = 0
) -> pd.Series:
    """No person in two splits: whole components of the swap graph are held out.

    A swap connects the person filmed and the one put on. Components that the official list holds entirely are the
    test set; where there is none, components are dealt by seed. The largest component always trains.
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
                "every item is in one component of the swap graph, so no identity-disjoint split exists; "
                "use protocol=official or predefined"
            )
    rest = items[splits == "train"]
    free = rest[component.loc[rest.index] != _largest(component.loc[rest.index])]
    share = val_fraction * len(rest) / max(len(free), 1)
    splits.loc[_deal(free, component.loc[free.index], share, seed + 1)] = "val"
    return splits


def predefined(items: pd.DataFrame, val_fraction: float = 0.1, seed: int = 0) -> pd.Series:
    """The splits as the data set comes divided; where it has no validation part, it is dealt from training by group."""
    splits = items["predefined"].astype(object)
    if splits.isna().any():
        raise ManifestError("the data set has no predefined train, val and test split; use protocol=random_groups")
    rest = items[splits == "train"]
    if len(rest) and not (splits == "val").any():
        splits.loc[_deal(rest, _component(rest), val_fraction, seed)] = "val"
    return splits


def random_groups(
    items: pd.DataFrame, val_fraction: float = 0.1, test_fraction: float = 0.2, seed: int = 0
) -> pd.Series:
    """Whole groups dealt by seed, so that none is in two splits: test first, then validation from what is left.

    With `test_fraction=1` everything is test material: a collection that is evaluated and never trained on.
    """
    if test_fraction >= 1:
        return pd.Series("test", index=items.index, dtype=object)
    component = _component(items)
    for label in sorted(items["label"].unique()):  # a data set for generators has one class only
        if (found := component[items["label"] == label].nunique()) < 3:
            raise ManifestError(
                f"the {'fake' if label else 'real'} items are in {found} group{'s' * (found != 1)}, which cannot be "
                "dealt to three splits: more data is needed. With data=folder, data.group=REGEX finds smaller groups "
                f"in the paths, or sort the files into train/ val/ test/ yourself{_twins(items)}"
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
DEAL_TEST = ("identity_disjoint", "random_groups")  # protocols that take a `test_fraction`


def _component(items: pd.DataFrame) -> pd.Series:
    """The connected component of each row; a row without groups is one of its own.

    Files of the same bytes (`sha256`) and items that look alike (`twin`, see duplicates.joined) are connected too, once
    it is known which these are.
    """
    groups = [list(row) or [item] for item, row in zip(items["item"], items["groups"], strict=True)]
    for column in [name for name in ("sha256", "twin") if name in items]:
        twice = items[column].notna() & items[column].duplicated(keep=False)
        # A component is named by its smallest member: ~ sorts behind all names, so that these stay what they were.
        groups = [row + [f"~{same}"] * bool(two) for row, same, two in zip(groups, items[column], twice, strict=True)]
    of = components(groups)
    return pd.Series([of[row[0]] for row in groups], index=items.index)


def _twins(items: pd.DataFrame) -> str:
    """What joins groups beside the data set's own, for a message."""
    count = int(items["twin"].notna().sum()) if "twin" in items else 0
    return (
        f". {count} items look like others and stay with them: see duplicates.csv beside the prepared crops, or deal "
        "them apart with data.split.allow_duplicates=true"
        if count
        else ""
    )


def _largest(component: pd.Series) -> str:
    return str(component.value_counts().sort_index().idxmax()) if len(component) else ""


def _deal(items: pd.DataFrame, group: pd.Series, fraction: float, seed: int) -> pd.Index:
    """Rows of whole groups, drawn in an order of `seed`, that hold `fraction` of each class as nearly as they can."""
    # Groups by number, in order of their names: there may be hundreds of thousands.
    number, names = pd.factorize(group, sort=True)
    usable = items["rejected"].isna().to_numpy()
    counts = np.zeros((len(names), 2), np.int64)
    np.add.at(counts, (number[usable], items["label"].to_numpy(int)[usable]), 1)
    total = counts.sum(axis=0)
    # At least one item of each class, where there is more than one to give.
    wanted = np.maximum(total * min(fraction, 1.0), total > 1) * float(fraction > 0)
    order = np.arange(len(names))
    np.random.default_rng(seed).shuffle(order)
    (want_real, want_fake), real, fake, chosen = wanted.tolist(), 0, 0, []
    for which, (more_real, more_fake) in zip(order, counts[order].tolist(), strict=True):
        # A group is taken while a class that it holds is short, and does not overshoot by more than it mends.
        before = abs(real - want_real) + abs(fake - want_fake)
        if abs(real + more_real - want_real) + abs(fake + more_fake - want_fake) < before:
            chosen.append(which)
            real, fake = real + more_real, fake + more_fake
    return items.index[np.isin(number, np.array(chosen, np.int64))]
