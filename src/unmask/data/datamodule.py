"""The data module: prepared crops of one or several data sets in, batches out."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unmask.config import Settings
from unmask.config.build import build
from unmask.data import features
from unmask.data.augment import Augmentation
from unmask.data.blend import SelfBlend
from unmask.data.blended import BlendedDataset
from unmask.data.contents import open_contents
from unmask.data.dataset import CropDataset, Order, Sampling
from unmask.data.loader import Loader
from unmask.data.manifest import ATTRIBUTE, ManifestError, components
from unmask.data.pixels import to_float
from unmask.data.predictions import empty_table, prediction_table
from unmask.data.prepared import members
from unmask.data.protocol import Description, describe
from unmask.data.recipe import Recipe
from unmask.data.sampling import CountedSampler, FixedSampler, ResumableLoader, draw_seed
from unmask.data.source import Source
from unmask.data.split import Split

Batch = dict[str, Tensor]
T = TypeVar("T")
PARTS = ("source", "recipe", "split", "sampling", "loader", "augment", "blend")


class DataModule(LightningDataModule):
    """Prepared crops as batches. Evaluating on another data set takes another `source` and `split`, and nothing else.

    Args:
        source: the data set, or a `Mixture` of several.
        recipe: file -> crops.
        split: how items are divided.
        sampling: how samples are taken from crops, and the balance of training batches.
        loader: what batches hold.
        augment: what is done to training samples, in the worker and on the device.
        blend: training and validation take real items alone, and blend them with themselves for fakes; the test split
            keeps the data set's own fakes.
        prepared: where prepared crops are kept, `<prepared>/<name>/<key of the recipe>`.
    """

    def __init__(
        self,
        source: Source,
        recipe: Recipe,
        split: Split | None = None,
        sampling: Sampling | None = None,
        loader: Loader | None = None,
        augment: Augmentation | None = None,
        blend: SelfBlend | None = None,
        prepared: str | Path = "outputs/prepared",
    ) -> None:
        super().__init__()
        self.source, self.recipe = source, recipe
        self.name: str = source.name
        self.split, self.sampling, self.loader = split or Split(), sampling or Sampling(), loader or Loader()
        self.augment = augment or Augmentation()
        self.blend = blend if blend is not None and blend.parts else None
        self._check()
        self.members = members(source, self.split, recipe, prepared)
        self.samples: dict[str, CropDataset] = {}
        self._training: ResumableLoader | None = None
        self._given = {"batches": 0}
        self._features = ""

    def _check(self) -> None:
        """Refuse parts that do not go together."""
        balance = self.sampling.balance
        if self.split.only and (self.blend or balance != "none"):
            raise ValueError(
                "data.split.only=real knows one class: set data.sampling.balance=none and blend@data.blend=none"
            )
        if balance == "pairs" and self.loader.batch_size % 2:
            raise ValueError(
                f"data.batch_size={self.loader.batch_size}: expected an even number, because samples come in pairs"
            )

    def unread(self) -> list[tuple[str, str]]:
        """Settings that have no effect beside the others, and why: (name below `data`, reason)."""
        if any(split is self.split for _, split in self.members):
            return [*self.split.unread(self.source), *self.sampling.unread()]
        names = [field.name for field in fields(self.split) if field.name != "only"]
        why = "each data set of a mixture is divided by its own: data.parts.NAME.split"
        own = ("root", "each data set of a mixture has its own: data.parts.NAME.root")
        return [own, *((f"split.{name}", why) for name in names), *self.sampling.unread()]

    def verify(self) -> None:
        """Compare the checksums of all stores, before anything rests on them.

        Raises:
            StoreError: a file changed since it was prepared.
        """
        for prepared, _ in self.members:
            prepared.verify()

    def setup(self, stage: str | None = None) -> None:
        """Open the stores, divide them, refuse leaks, and make the samples of each split."""
        if self.samples:
            return
        found = open_contents(self.members, self.blend is not None)
        self.items, self._store, self._stores, self.duplicates = found
        self._check_attributes(self.items)
        items = self.items
        usable = items[items["rejected"].isna()]
        for split in ("train", "val", "test"):
            rows = usable[usable["split"] == split]
            self.samples[split] = self._samples(rows, split)
            if self.split.only and not len(rows) and stage == "fit":
                raise ManifestError(
                    f"the {split} split holds no real item; give it some with data.split.protocol=random_groups"
                )
            both = len(np.unique(self.samples[split].labels)) == 2
            if split in ("train", "val") and stage == "fit" and not self.split.only and not both:
                raise ManifestError(self._one_class(split, rows))

    def _check_attributes(self, items: pd.DataFrame) -> None:
        known = [name.removeprefix(ATTRIBUTE) for name in items.columns if name.startswith(ATTRIBUTE)]
        unknown = [name for name in self.loader.attributes if name not in known]
        if unknown:
            has = f"it knows {', '.join(known)}" if known else "it knows none"
            raise ManifestError(f"data.loader.attributes: {self.name} has no {', '.join(unknown)}; {has}")
        used = items["split"].notna() & items["rejected"].isna()
        bare = items.loc[used, [ATTRIBUTE + name for name in self.loader.attributes]].isna().any(axis=1)
        if bare.any():
            raise ManifestError(
                f"data.loader.attributes: {int(bare.sum())} of {self.name}'s items have none, see its lists"
            )

    def _one_class(self, split: str, rows: pd.DataFrame) -> str:
        """Why a split cannot train a detector, and what to do."""
        if (self.items["label"] == 0).all() and not self.blend:
            return (
                f"all {len(self.items)} items of {self.name} are real, and a detector learns from both real and fake: "
                "take another data set, or blend@data.blend=sbi, which makes fakes of real faces; as it is it trains "
                "generators only (data.split.only=real data.sampling.balance=none)"
            )
        real, fake = (int((rows["label"] == label).sum()) for label in (0, 1))
        held, needed = (f"{real} real", "some") if self.blend else (f"{real} real and {fake} fake", "both")
        return (
            f"the {split} split holds {held} items and needs {needed}; give it more with data.split.val_fraction (now "
            f"{self.split.val_fraction}) or choose another data.split.protocol"
        )

    def _samples(self, items: pd.DataFrame, split: str) -> CropDataset:
        training, loader = split == "train", self.loader
        seed, augment = (loader.seed, self.augment.on_worker) if training else (None, None)
        if self.blend is None or split == "test":
            return self.sampling.samples(
                self._store, items, self.recipe, seed, augment, loader.masks, tuple(loader.attributes)
            )
        locate = self.recipe.landmarks_in_crop
        return BlendedDataset(self._store, items, self.sampling, self.blend, locate, seed, augment, loader.masks)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled and balanced, resampled in each epoch; a resumed run continues after its last batch."""
        data = self.samples["train"]
        self._training = self._loader(data, *self.sampling.order(data))
        self._training.load_state_dict(self._given)
        return self._training

    def state_dict(self) -> dict[str, int]:
        """How far training has come in its epoch.

        The Trainer would keep the loader's own state, but restores it only where nothing has asked for the number of
        steps before: a schedule does.
        """
        return self._training.state_dict() if self._training else {"batches": 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from there."""
        self._given = state_dict

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same samples in the same order each time."""
        return self._loader(self.samples["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test split."""
        return self._loader(self.samples["test"])

    def _loader(self, data: CropDataset, order: Order | None = None, unit: int = 1) -> ResumableLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler: type[CountedSampler] = CountedSampler
        if self.trainer and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            # A few batches of the validation split are to hold both classes, so they are drawn too.
            sampler, order = FixedSampler, order or (lambda rng: rng.permutation(len(data)))
        workers = self.loader.num_workers
        return ResumableLoader(
            data,
            batch_size=self.loader.batch_size,
            sampler=sampler(len(data), self.loader.seed, order, unit, rank, world),
            num_workers=workers,
            collate_fn=_as_is,  # the data set gathers whole batches
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers and os.name == "posix" else None,
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """On the device: uint8 -> float in [0, 1] at `image_size`; in training, augmented."""
        side = self.loader.image_size
        if "mask" in batch:
            batch["mask"] = to_float(batch["mask"], side)
        if "x" not in batch:
            return batch
        batch["x"] = to_float(batch["x"], side)
        if self.trainer is not None and self.trainer.training:
            epoch = self.trainer.current_epoch
            seeds = [draw_seed(self.loader.seed, epoch, int(index)) for index in batch["index"]]
            batch["x"], mask = self.augment.on_device(batch["x"], batch.get("mask"), seeds)
            if mask is not None:
                batch["mask"] = mask
        return batch

    @property
    def as_stored(self) -> bool:
        """Whether training samples are the stored crops as they are, so that features of them can be computed once."""
        return not (self.augment.worker or self.augment.device or self.blend)

    def use_features(self, encoder: nn.Module, how: features.Encoding) -> str:
        """Give batches the `features` of the stored crops in place of `x`; they are computed once and kept on disk.

        Args:
            encoder: the frozen network that encodes; its layers and weights decide whether what is on disk still fits.
            how: the functions that encode, and where.

        Returns:
            In words what was done.

        Raises:
            ValueError: training samples are not the stored crops as they are.
        """
        self.setup()
        if not self.as_stored:
            raise ValueError("features are of the stored crops as they are: set augment@data.augment=none, no blends")
        found, precision = features.of_stores(self._stores, encoder, how, self.loader.image_size)
        for samples in self.samples.values():
            samples.features = found
        bound = f", within {features.FAITHFUL:.0%} of the spread between crops" if precision == "bf16" else ""
        self._features = f"of the frozen encoder, computed once for each of {len(found)} crops ({precision}{bound})"
        return self._features

    def groups(self, split: str) -> NDArray[np.object_]:
        """For each sample of a split the name of what must stay together [N]: all that shares a source or a group."""
        items = self.items[self.items["split"] == split]
        members = [
            [f"item {name}" for name in (item, source) if isinstance(name, str)] + list(groups)
            for item, source, groups in zip(items["item"], items["source"], items["groups"], strict=True)
        ]
        of = components(members)
        return np.array([of[f"item {item}"] for item in self.samples[split].table["item"]], dtype=object)

    def predictions(self, split: str, index: Tensor, logit: Tensor) -> pd.DataFrame:
        """The prediction table of a split, see `prediction_table`."""
        return prediction_table(self.samples[split].table, self._of(split), split, index, logit)

    def empty_predictions(self, split: str) -> pd.DataFrame:
        """The prediction table of a split without samples: null rows of what could not be prepared, if anything."""
        return empty_table(self.samples[split].table, self._of(split), split)

    def _of(self, split: str) -> pd.DataFrame:
        return self.items[self.items["split"] == split]

    def why_empty(self, split: str) -> str:
        """Say why a split holds no sample, and how to give it some."""
        members = self._of(split)
        if len(members):
            reasons = members["rejected"].value_counts().head(3)
            listing = ", ".join(f"{count} x {reason}" for reason, count in reasons.items())
            return f"none of the {len(members)} items of {self.name}'s {split} split could be prepared ({listing})"
        kept = "without the fakes " if self.split.only else ""
        return (
            f"the {split} split of {self.name} is empty {kept}(data.split.protocol={self.split.protocol}); put items "
            f"into it, or deal some with data.split.protocol=random_groups data.split.{split}_fraction=0.2"
        )

    def protocol_words(self, split: str) -> dict[str, str]:
        """What a figure on this data rests on, in words."""
        described = Description(
            self.name, self.items, self.samples[split].table, self.sampling, self.recipe, self.loader.image_size,
            self.members, self.blend is not None, self._features, self._store.fingerprint, self.duplicates,
        )  # fmt: skip
        return describe(described, split)


def build_data(settings: Settings) -> DataModule:
    """The data module of a checked data config.

    Its `source`, `recipe`, `split`, `sampling`, `loader`, `augment` and `blend` are built; what stands beside them,
    such as `root`, is what these refer to.
    """
    parts = {name: build(settings[name]) for name in PARTS if name in settings}
    return DataModule(**parts, prepared=settings["prepared"])


def data_module(source: type[Source]) -> type[DataModule]:
    """The data module of one kind of data set, for those who do without Hydra: `(name, root, recipe, split=..., ...)`.

    Args:
        source: the class of the data set.
    """

    class OfSource(DataModule):
        def __init__(self, name: str, root: str | Path, recipe: Recipe, **parts: Any) -> None:
            super().__init__(source(name, root), recipe, **parts)

    OfSource.__name__ = OfSource.__qualname__ = f"{source.__name__}DataModule"
    OfSource.__doc__ = f"The data module of `{source.__name__}`; its arguments are those of `DataModule`."
    return OfSource


def _as_is(batch: T) -> T:
    return batch
