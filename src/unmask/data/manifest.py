"""The manifest: the contents of a data set, as a table of items and a table of stored crops.

`items`: one row per video or image, with the columns of `ITEM_COLUMNS`, a column `attribute.NAME` for each attribute
of the data set, a column `statistic.NAME` for each measured statistic of the file (the shortcut audit reads only
these), and columns for other facts about the file, such as its `sha256`.
`crops`: one row per stored crop, with the columns of `CROP_COLUMNS`. If sound is stored, one more row per item with
sound, and the column `samples`: the number of samples of the sound, 0 for a crop.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from unicodedata import category

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.files import printable

ITEM_COLUMNS = ["item", "path", "label", "method", "source", "groups", "mask", "split", "rejected"]
ATTRIBUTE = "attribute."  # prefix of columns with attributes
STATISTIC = "statistic."  # prefix of columns with file-level statistics
SIZE = f"{STATISTIC}bytes"
CROP_COLUMNS = ["item", "track", "frame", "time", "box", "landmarks", "prob", "shard", "offset", "hash"]
SAMPLES = "samples"  # column of the table of crops: number of samples of the sound


@dataclass(frozen=True)
class Item:
    """One video or image of a data set.

    Args:
        item: unique name, `dataset/method/clip`.
        path: the file, relative to the data set's root, with forward slashes.
        label: 0 real, 1 fake; the lists of a data set may use the opposite convention.
        method: `real`, or the name of the manipulation.
        source: name of the item from which a fake was made; used to pair real and fake items.
        groups: names that must not be in two splits: the people filmed or swapped in, or the source painting.
        official_test: whether the official test list contains the item.
        predefined: the split that the data set itself assigns to the item; None if it assigns none.
        mask: path of the mask, relative to the root; manipulated pixels are white. None if the item has no mask.
        attributes: attributes of the picture by name: 1 yes, 0 no, or a word, such as the name of a mask.
    """

    item: str
    path: str
    label: int
    method: str
    source: str | None = None
    groups: tuple[str, ...] = ()
    official_test: bool = False
    predefined: str | None = None
    mask: str | None = None
    attributes: Mapping[str, int | str] = field(default_factory=dict)


class ManifestError(ValueError):
    """A data set cannot be used, for example because its splits leak. The message names the items or files.

    Except for newlines, control characters in the message are escaped, because untrusted file names may contain
    terminal control sequences.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(printable(line) for line in message.split("\n")))


def items_table(items: Iterable[Item]) -> pd.DataFrame:
    """Return the rows of a manifest sorted by `item`, with splits not yet set.

    Raises:
        ManifestError: an item occurs twice, a label is neither 0 nor 1, or label and method disagree.
    """
    named = sorted((nameable(item) for item in items), key=lambda entry: entry[0].item)
    rows = [item for item, _ in named]
    names = [name for name in Item.__annotations__ if name != "attributes"]
    table = pd.DataFrame([vars(item) | {"groups": list(item.groups)} for item in rows], columns=names)
    table["split"], table["rejected"] = None, pd.Series([reason for _, reason in named], dtype=object)
    table = table.join(pd.DataFrame([dict(item.attributes) for item in rows], index=table.index).add_prefix(ATTRIBUTE))
    twice = table[table["item"].duplicated(keep=False)]
    if len(twice):
        raise ManifestError(f"duplicate item names: {_some(twice['item'] + ' (' + twice['path'].map(printable) + ')')}")
    wrong = table[~table["label"].isin([0, 1]) | ((table["method"] == "real") != (table["label"] == 0))]
    if len(wrong):
        raise ManifestError(
            "label and method disagree (expected label 0 if the method is `real`, else label 1): "
            f"{_some(wrong['item'])}"
        )
    return table


def nameable(item: Item) -> tuple[Item, str | None]:
    """Return the item with printable names, and the reason why its file name is unusable (None if it is usable).

    Tables are stored as UTF-8, so they cannot contain a file name that is not valid UTF-8. Newlines and other control
    characters are kept in `path`, because it is used to open the file, but replaced in all names that are printed.
    """
    paths = [path for path in (item.path, item.mask) if path is not None and not _is_text(path)]
    reason = f"its name is not valid UTF-8 ({printable(paths[0])}); rename the file" if paths else None
    if reason is None and all(_is_plain(name) for name in (item.item, item.method, item.source or "", *item.groups)):
        return item, None
    named = replace(
        item,
        item=_plain(item.item),
        path=item.path if _is_text(item.path) else printable(item.path),
        method=_plain(item.method),
        source=None if item.source is None else _plain(item.source),
        groups=tuple(_plain(group) for group in item.groups),
        mask=item.mask if item.mask is None or _is_text(item.mask) else printable(item.mask),
    )
    return named, reason


def _is_text(name: str) -> bool:
    """Whether a name can be encoded as UTF-8. Python represents undecodable bytes by lone surrogates (PEP 383)."""
    return not any("\ud800" <= one <= "\udfff" for one in name)


def _is_plain(name: str) -> bool:
    return _is_text(name) and not any(category(one) == "Cc" for one in name)


def _plain(name: str) -> str:
    """Return a unique printable name if `name` has control characters or is not valid UTF-8; else return `name`."""
    if _is_plain(name):
        return name
    return f"{printable(name)}#{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def check_leaks(items: pd.DataFrame, crops: pd.DataFrame | None = None, disjoint_groups: bool = False) -> None:
    """Raise an error if files, frames or groups are in two splits, or if files or pictures have both labels.

    Args:
        items: `item`, `split`, `label`, `groups`, `source` and, once prepared, `sha256` of the file.
        crops: `item` and `hash` of the stored pixels and sound; None before preparation.
        disjoint_groups: whether the protocol promises that no group (person, painting) is in two splits.

    Raises:
        ManifestError: there are leaks or contradicting labels; the message names the items.
    """
    problems = []
    used = items[items["split"].notna()]
    if "rejected" in used:  # rejected files are not used; they may have the same bytes, for example if all are empty
        used = used[used["rejected"].isna()]
    if "sha256" in used:
        known = used[used["sha256"].notna()]
        problems += _contradicting(known, "sha256", "the same file")
        problems += _shared(known, "sha256", "the same file")
    if crops is not None and len(crops):
        frames = crops[["item", "hash"]].merge(used[["item", "split", "label"]], on="item")
        problems += _contradicting(_same_pixels(frames, used), "pixels", "the same picture")
        problems += _shared(frames, "hash", "the same frame")
    if disjoint_groups:
        problems += _shared(used.explode("groups").dropna(subset="groups"), "groups", "the group")
    if problems:
        raise ManifestError(
            "the splits leak, or labels contradict each other:\n" + "\n".join(f"  {problem}" for problem in problems)
        )


def _shared(rows: pd.DataFrame, column: str, what: str) -> list[str]:
    """Describe values of `column` that occur in several splits: one line for each of the first ten, then a count."""
    count = rows.groupby(column)["split"].transform("nunique")
    bad = rows[count > 1]
    lines = []
    for value, group in list(bad.groupby(column))[:10]:
        members = group.drop_duplicates("split" if column == "groups" else ["item", "split"])
        where = ", ".join(f"{row.item} ({row.split})" for row in members.itertuples())
        lines.append(f"{what}{f' {value}' if column == 'groups' else ''} is in two splits: {where}")
    more = bad[column].nunique() - len(lines)
    return lines + ([f"and {more} more of this kind"] if more > 0 else [])


def _contradicting(rows: pd.DataFrame, column: str, what: str) -> list[str]:
    """Describe values of `column` that occur with both labels: one line for each of the first ten, then a count."""
    bad = rows[rows.groupby(column)["label"].transform("nunique") > 1]
    lines = []
    for _, group in list(bad.groupby(column))[:10]:
        where = ", ".join(f"{row.item} ({'fake' if row.label else 'real'}, {row.split})" for row in group.itertuples())
        lines.append(f"{what} is labelled real and fake: {where}")
    more = bad[column].nunique() - len(lines)
    return lines + ([f"and {more} more of this kind"] if more > 0 else [])


def _same_pixels(frames: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return the items whose crops equal those of an unrelated item; columns `item`, `split`, `label`, `pixels`."""
    both = frames[frames.groupby("hash")["label"].transform("nunique") > 1]
    whole = frames[frames["item"].isin(both["item"])].groupby("item")["hash"].agg(lambda hashes: " ".join(hashes))
    rows = items[["item", "split", "label"]].merge(whole.rename("pixels"), on="item")
    alike, related = rows.groupby("pixels")["item"].agg(list), relations(items)
    alone = [
        not all(related(item, other) for other in alike[pixels])
        for item, pixels in zip(rows["item"], rows["pixels"], strict=True)
    ]
    return rows[np.array(alone, bool)]


def relations(items: pd.DataFrame) -> Callable[[str, str], bool]:
    """Return a function that tells whether two items are related.

    They are related if one is the source of the other, if they have the same source, or if they share a group.

    Args:
        items: `item`, `groups` and `source`.
    """
    source = items["source"] if "source" in items else [None] * len(items)
    known = {
        item: {*groups, f"item {origin if isinstance(origin, str) else item}"}
        for item, groups, origin in zip(items["item"], items["groups"], source, strict=True)
    }
    return lambda a, b: not known[a].isdisjoint(known[b])


def components(groups: Iterable[Iterable[str]]) -> dict[str, str]:
    """Map each group to the name of its connected component: the alphabetically first group in the component.

    Groups that occur in the same item (such as the person filmed and the person swapped in) are connected.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for members in groups:
        names = list(members)
        for name in names:
            a, b = root(names[0]), root(name)
            parent[max(a, b)] = min(a, b)
    return {name: root(name) for name in parent}


def crop_hash(pixels: NDArray[np.integer]) -> str:
    """Return a hash of the pixels of one stored crop, or of the samples of one recording, 16 characters."""
    return hashlib.blake2b(pixels.tobytes(), digest_size=8).hexdigest()


def _some(names: Iterable[str], most: int = 10) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
