"""Divide a data set into training, validation and test by a protocol and its settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from unmask.data.manifest import ManifestError
from unmask.data.source import Source
from unmask.data.splits import DEAL_TEST, PROTOCOLS, part_of_training

KINDS = (None, "real")


@dataclass(frozen=True)
class Split:
    """The protocol by which items are divided.

    Args:
        protocol: `official`, `identity_disjoint`, `predefined` or `random_groups` (data/splits.py).
        val_fraction: share of the training items held out for validation, in whole groups (people).
        test_fraction: share of the items assigned to the test split, in whole groups, if no list defines this split.
        seed: seed of the assignment; not the seed of the run, so that runs with different seeds have the same splits.
        only: `real` uses only real items in every split, to train a generator; None uses both classes.
        leave_out: methods (manipulations or generators). Their fakes are left out of training and validation, so that
            the test measures how well a detector recognises unseen methods.
        allow_duplicates: whether unrelated items that look alike may be in different splits.
        train_fraction: share of the training split that is used, in whole groups; the other items are in no split. The
            validation and test splits do not depend on it.
    """

    protocol: str = "official"
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    seed: int = 0
    only: str | None = None
    allow_duplicates: bool = False
    leave_out: Sequence[str] = ()
    train_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"data.split.protocol={self.protocol}: expected one of {', '.join(PROTOCOLS)}")
        if self.only not in KINDS:
            raise ValueError(f"data.split.only={self.only}: expected real, or null for both classes")

    def rule(self, items: pd.DataFrame, source: Source) -> str:
        """Return the protocol in use; some data sets use `random_groups` instead of `predefined` if no splits exist."""
        falls_back = self.protocol == "predefined" and source.ELSE_RANDOM_GROUPS
        undivided = falls_back and bool(items["predefined"].isna().all())
        return "random_groups" if undivided else self.protocol

    def divide(
        self, items: pd.DataFrame, crops: pd.DataFrame | None, source: Source
    ) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """Return the items with a column `split` (`train`, `val`, `test` or None), and the crops of the items.

        Args:
            items: rows of the manifest.
            crops: crops of the store; None before preparation.
            source: the data set.

        Raises:
            ManifestError: the data set cannot be divided by this protocol.
        """
        rule = self.rule(items, source)
        used = items[source.used(items, rule)]
        shares = {"val_fraction": self.val_fraction}
        if rule in DEAL_TEST:
            shares["test_fraction"] = self.test_fraction
        split = PROTOCOLS[rule](used, seed=self.seed, **shares)
        if self.train_fraction < 1:
            split = part_of_training(used, split, self.train_fraction, self.seed + 2)
        return self._left_out(items.assign(split=split.reindex(items.index))), crops

    def _left_out(self, items: pd.DataFrame) -> pd.DataFrame:
        """Remove the fakes of `leave_out` from training and validation.

        Raises:
            ManifestError: there are no fakes of a method in `leave_out`.
        """
        known = sorted(items.loc[items["label"] == 1, "method"].astype(str).unique())
        if unknown := [name for name in self.leave_out if name not in known]:
            raise ManifestError(f"data.split.leave_out={', '.join(unknown)}: expected some of {', '.join(known)}")
        out = (items["label"] == 1) & items["method"].isin(self.leave_out) & items["split"].isin(["train", "val"])
        return items.assign(split=items["split"].mask(out, None))

    def words(self, items: pd.DataFrame, source: Source) -> str:
        """Return a description of the protocol and its guarantee."""
        rule = self.rule(items, source)
        without = f"; without fakes of {', '.join(self.leave_out)} in training" if self.leave_out else ""
        part = f"; {self.train_fraction:.3g} of the training items are used" if self.train_fraction < 1 else ""
        return f"{rule} ({source.PROTOCOL_WORDS[rule].format(seed=self.seed)}{without}{part})"

    def unread(self, source: Source) -> list[tuple[str, str]]:
        """Return the settings that have no effect because of another setting, as (name, reason)."""
        dealt = self.protocol in DEAL_TEST or (self.protocol == "predefined" and source.ELSE_RANDOM_GROUPS)
        why = f"data.split.protocol={self.protocol} uses the data set's own test split"
        return [] if dealt else [("split.test_fraction", why)]
