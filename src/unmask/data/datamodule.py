"""The data module: batches from the prepared crops of one or several data sets."""

import os
import warnings
from collections.abc import Iterator
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
from torchvision.transforms import v2

from unmask.config import Settings
from unmask.config.build import build
from unmask.data import features
from unmask.data.augment import Augmentation, Transform
from unmask.data.blend import SelfBlend
from unmask.data.blended import BlendedDataset
from unmask.data.cache import Cache
from unmask.data.contents import open_contents
from unmask.data.dataset import CropDataset, Order, Sampling
from unmask.data.handling import SomeOf
from unmask.data.loader import Loader
from unmask.data.manifest import ATTRIBUTE, ManifestError, components
from unmask.data.parts import stored_crops
from unmask.data.pixels import to_float
from unmask.data.predictions import empty_table, prediction_table
from unmask.data.prepared import members
from unmask.data.protocol import Description, describe
from unmask.data.recipe import Recipe
from unmask.data.samplers import CountedSampler, FixedSampler, ResumableLoader
from unmask.data.sampling import draw_seed
from unmask.data.source import Source
from unmask.data.split import Split
from unmask.data.stores import sound_of
from unmask.media.crops import Crops

Batch = dict[str, Tensor]
T = TypeVar("T")
PARTS = ("source", "recipe", "split", "sampling", "loader", "augment", "blend")


class DataModule(LightningDataModule):
    """A data module that provides batches of prepared crops.

    To evaluate on another data set, change only `source` and `split`.

    Args:
        source: the data set, or a `Mixture` of several.
        recipe: turns a file into crops.
        split: how items are divided into training, validation and test.
        sampling: how samples are taken from crops, and how training batches are balanced.
        loader: the contents and size of batches.
        augment: augmentation of training samples, in the worker and on the device.
        blend: if set, self-blends of the real items replace the fakes in training and validation; the test split keeps
            the data set's own fakes.
        prepared: the folder or the URL of all prepared crops. The source's crops are in
            `<prepared>/<name>/<key of the recipe>`.
        cache: keeps copies of crops at a URL.
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
        cache: Cache | None = None,
    ) -> None:
        super().__init__()
        self.source, self.recipe = source, recipe
        self.name: str = source.name
        self.split, self.sampling, self.loader = split or Split(), sampling or Sampling(), loader or Loader()
        self.augment = augment or Augmentation()
        self.blend = blend if blend is not None and blend.parts else None
        self._check()
        self.members = members(source, self.split, recipe, prepared, cache)
        self.samples: dict[str, CropDataset] = {}
        self._training: ResumableLoader | None = None
        self._given = {"batches": 0}
        self._features = ""

    def _check(self) -> None:
        """Raise a ValueError if settings are incompatible."""
        balance = self.sampling.balance
        if self.split.only and (self.blend or balance != "none"):
            raise ValueError(
                "data.split.only=real leaves only one class: set data.sampling.balance=none and blend@data.blend=none"
            )
        if not self.sampling.STORED and (names := sorted(_of_pictures(self.augment))):
            raise ValueError(
                f"data.augment transforms pictures ({', '.join(names)}), but the samples are sound: set "
                "augment@data.augment=none, or an augmentation of sound"
            )
        if balance == "pairs" and self.loader.batch_size % 2:
            raise ValueError(
                f"data.batch_size={self.loader.batch_size}: expected an even number with data.sampling.balance=pairs"
            )

    def samples_per_process(self, processes: int) -> int:
        """Return the number of samples in each process's part of a training batch.

        Raises:
            ValueError: batches cannot be divided equally among the processes.
        """
        size, paired = self.loader.batch_size, self.sampling.balance == "pairs"
        multiple = 2 * processes if paired else processes
        if size % multiple:
            whole = "whole pairs (data.sampling.balance=pairs)" if paired else "as many samples as any other"
            raise ValueError(
                f"data.batch_size={size}: expected a multiple of {multiple}, because each batch is divided among "
                f"{processes} processes, and each process gets {whole}"
            )
        return size // processes

    def unread(self) -> list[tuple[str, str]]:
        """Return the settings that have no effect because of another setting, as (name below `data`, reason)."""
        if any(split is self.split for _, split in self.members):
            return [*self.split.unread(self.source), *self.sampling.unread()]
        names = [field.name for field in fields(self.split) if field.name != "only"]
        why = "not used by a mixture; set data.parts.NAME.split for each of its data sets"
        own = ("root", "not used by a mixture; set data.parts.NAME.root for each of its data sets")
        return [own, *((f"split.{name}", why) for name in names), *self.sampling.unread()]

    def blank(self) -> Tensor:
        """Return an empty sample of the size of the network's input: [1, 3, S, S], [1, T, 3, S, S] or sound [1, S]."""
        return self.sampling.blank(self.loader.image_size)

    def blank_batch(self) -> dict[str, Tensor]:
        """Return the inputs of a black and silent sample, as a batch with one sample."""
        sound = self.sampling.silence()
        return {"x": self.blank()} | ({} if sound is None else {"sound": sound})

    def verify(self) -> None:
        """Check all files of the prepared crops against their stored checksums.

        Raises:
            StoreError: a file changed since it was prepared.
        """
        for prepared, _ in self.members:
            prepared.verify()

    def setup(self, stage: str | None = None) -> None:
        """Open the stores, divide their items into splits, reject leaks, and create the samples of each split."""
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
                raise ManifestError(f"the {split} split contains no real items; use data.split.protocol=random_groups")
            both = len(np.unique(self.samples[split].labels)) == 2
            if split in ("train", "val") and stage == "fit" and not self.split.only and not both:
                raise ManifestError(self._one_class(split, rows))

    def _check_attributes(self, items: pd.DataFrame) -> None:
        if self.loader.captions is not None:
            if lacking := [name for name in self.loader.captions.columns() if name not in items.columns]:
                raise ManifestError(f"data.loader.captions: {self.name} has no {', '.join(lacking)}")
        known = [name.removeprefix(ATTRIBUTE) for name in items.columns if name.startswith(ATTRIBUTE)]
        unknown = [name for name in self.loader.attributes if name not in known]
        if unknown:
            has = f"expected some of {', '.join(known)}" if known else f"{self.name} has no attributes"
            raise ManifestError(f"data.loader.attributes: unknown {', '.join(unknown)}; {has}")
        used = items["split"].notna() & items["rejected"].isna()
        bare = items.loc[used, [ATTRIBUTE + name for name in self.loader.attributes]].isna().any(axis=1)
        if bare.any():
            raise ManifestError(
                f"data.loader.attributes: {int(bare.sum())} items of {self.name} lack attributes; complete the "
                "attribute list of the data set"
            )

    def _one_class(self, split: str, rows: pd.DataFrame) -> str:
        """Return the error message for a split that lacks a class needed to train a detector, and how to fix it."""
        if (self.items["label"] == 0).all() and not self.blend:
            return (
                f"all {len(self.items)} items of {self.name} are real, but a detector needs both real and fake items: "
                "choose another data set, or set blend@data.blend=sbi, which makes fakes from real faces. To train "
                "a generator, set data.split.only=real data.sampling.balance=none"
            )
        real, fake = (int((rows["label"] == label).sum()) for label in (0, 1))
        held, needed = (f"{real} real", "at least one") if self.blend else (f"{real} real and {fake} fake", "both")
        lacks = f"the {split} split contains {held} items but needs {needed}"
        if len(self.members) > 1:
            return f"{lacks}; change data.parts.NAME.split of its data sets"
        now = self.split.val_fraction
        more = ", such as 0.3" if now < 0.3 else ""
        return f"{lacks}; increase data.split.val_fraction (now {now}){more}, add items, or set data.split.protocol"

    def _samples(self, items: pd.DataFrame, split: str) -> CropDataset:
        training, loader = split == "train", self.loader
        seed, augment = (loader.seed, self.augment.on_worker) if training else (None, None)
        if self.blend is None or split == "test":
            made = self.sampling.samples(
                self._store, items, self.recipe, seed, augment, loader.masks, tuple(loader.attributes)
            )
            made.augment_sound = self.augment.on_sound if training else None
            if loader.captions is not None:
                made.use_captions(loader.captions, items)
            return made
        locate = self.recipe.landmarks_in_crop
        return BlendedDataset(self._store, items, self.sampling, self.blend, locate, seed, augment, loader.masks)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the training loader, which shuffles, balances and redraws the samples in each epoch.

        The loader can resume within an epoch.
        """
        data = self.samples["train"]
        for store in self._stores:
            if advice := store.cache_advice(self.sampling.window):
                warnings.warn(advice, stacklevel=2)
        self._training = self._loader(data, *self.sampling.order(data))
        self._training.load_state_dict(self._given)
        return self._training

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the current training epoch are done, as {"batches": number}.

        The Trainer also saves the loader's own state. But it does not restore this state if the number of training
        steps has already been read, for example by a learning-rate schedule.
        """
        return self._training.state_dict() if self._training else {"batches": 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restore the progress within an epoch that `state_dict` returned."""
        self._given = state_dict

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation loader, with the same samples in the same order in every epoch."""
        return self._loader(self.samples["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of the test split."""
        return self._loader(self.samples["test"])

    def _loader(self, data: CropDataset, order: Order | None = None, unit: int = 1) -> ResumableLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler: type[CountedSampler] = CountedSampler
        if self.trainer and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            # Shuffle validation too, so that the few batches that are used contain both classes.
            sampler, order = FixedSampler, order or (lambda rng: rng.permutation(len(data)))
        workers, each = self.loader.num_workers, -(-self.loader.batch_size // world)  # training checks that it is exact
        return ResumableLoader(
            data,  # type: ignore[arg-type]  # it has what a loader needs, but not the base class, which is in PyTorch
            batch_size=each,
            sampler=sampler(len(data), self.loader.seed, order, unit, rank, world, each),
            num_workers=workers,
            collate_fn=_as_is,  # the data set returns whole batches
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers and os.name == "posix" else None,
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Convert a batch on the device from uint8 to float in [0, 1] at `image_size`; augment it in training.

        Waveforms are float already.
        """
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
        """Whether training samples are unmodified stored crops, so that their features can be computed once."""
        augmented = self.augment.worker or self.augment.device or self.augment.sound or self.blend
        return self.sampling.STORED and not augmented

    def use_features(self, encoder: nn.Module, how: features.Encoding) -> str:
        """Replace `x` in batches by `features` of the stored crops; the features are computed once and cached on disk.

        Args:
            encoder: the frozen encoder. Cached features are reused only if its layers and weights have not changed.
            how: the encoding functions and their device.

        Returns:
            A description of the features, for printing.

        Raises:
            ValueError: training samples are not unmodified stored crops.
        """
        self.setup()
        if not self.as_stored:
            raise ValueError("features need unmodified crops: set augment@data.augment=none blend@data.blend=none")
        found, precision = features.of_stores(self._stores, encoder, how, self.loader.image_size)
        for samples in self.samples.values():
            samples.features = found
        bound = f", error at most {features.FAITHFUL:.0%} of the spread between crops" if precision == "bf16" else ""
        self._features = f"of the frozen encoder, computed once for each of {len(found)} crops ({precision}{bound})"
        return self._features

    def augmented(self, copy: int, device: torch.device | str = "cpu", size: int = 16) -> Iterator[Batch]:
        """Yield all training samples in order, augmented with the seeds of epoch `copy`, in batches of `size`.

        Each batch contains `x`, float [B, 3, S, S] or [B, T, 3, S, S] in [0, 1] at `image_size` on `device`, and the
        labels `y` [B]. Call this before `use_features`.
        """
        self.setup()
        samples = self.samples["train"]
        for start in range(0, len(samples), size):
            indices = range(start, min(start + size, len(samples)))
            batch = samples.__getitems__([(copy, index) for index in indices])
            seeds = [draw_seed(self.loader.seed, copy, index) for index in indices]
            x = to_float(batch["x"].to(device), self.loader.image_size)
            yield {"x": self.augment.on_device(x, None, seeds)[0], "y": batch["y"]}

    def groups(self, split: str) -> NDArray[np.object_]:
        """Return a group name for each sample [N]; items connected by a common source or group have the same name."""
        items = self.items[self.items["split"] == split]
        members = [
            [f"item {name}" for name in (item, source) if isinstance(name, str)] + list(groups)
            for item, source, groups in zip(items["item"], items["source"], items["groups"], strict=True)
        ]
        of = components(members)
        return np.array([of[f"item {item}"] for item in self.samples[split].table["item"]], dtype=object)

    def crops_of(self, item: str) -> Crops:
        """Return all stored crops of an item, and its sound if that is stored."""
        rows = self._store.crops[self._store.crops["item"] == item]
        pixels = self._store.pixels(rows["shard"].to_numpy(np.int64), rows["offset"].to_numpy(np.int64))
        return stored_crops(rows, pixels, sound_of(self._store, item))

    def predictions(self, split: str, index: Tensor, logit: Tensor) -> pd.DataFrame:
        """Return the prediction table of a split; see `prediction_table`."""
        return prediction_table(self.samples[split].table, self._of(split), split, index, logit)

    def empty_predictions(self, split: str) -> pd.DataFrame:
        """Return the prediction table of a split in which no item could be prepared: each item has a null logit."""
        return empty_table(self.samples[split].table, self._of(split), split)

    def _of(self, split: str) -> pd.DataFrame:
        return self.items[self.items["split"] == split]

    def why_empty(self, split: str) -> str:
        """Return the message that says why a split has no samples, and how to fill it."""
        members = self._of(split)
        if len(members):
            reasons = members["rejected"].value_counts().head(3)
            listing = ", ".join(f"{count} x {reason}" for reason, count in reasons.items())
            return f"none of the {len(members)} items of {self.name}'s {split} split could be prepared ({listing})"
        lacks = "contains no real items" if self.split.only else "is empty"
        if len(self.members) > 1:
            return f"the {split} split of {self.name} {lacks}; change data.parts.NAME.split of its data sets"
        return (
            f"the {split} split of {self.name} {lacks} (data.split.protocol={self.split.protocol}); add items to "
            f"it, or fill it with data.split.protocol=random_groups data.split.{split}_fraction=0.2"
        )

    def protocol_words(self, split: str) -> dict[str, str]:
        """Return the evaluation protocol of a split, as {heading: text}."""
        described = Description(
            self.name, self.items, self.samples[split].table, self.sampling, self.recipe, self.loader.image_size,
            self.members, self.blend is not None, self._features, self._store.fingerprint, self.duplicates,
        )  # fmt: skip
        return describe(described, split)


def _of_pictures(augment: Augmentation) -> set[str]:
    """Return the names of the transforms of pictures in an augmentation, also of those within other transforms."""
    kinds = {type(leaf) for one in (*augment.worker, *augment.device) for leaf in _leaves(one)}
    return {kind.__name__ for kind in kinds if kind.__module__.startswith(("torchvision.", "unmask.data.handling"))}


def _leaves(transform: Transform) -> Iterator[Transform]:
    if isinstance(transform, SomeOf | v2.RandomApply | v2.Compose):
        for inner in transform.transforms:
            yield from _leaves(inner)
    else:
        yield transform


def build_data(settings: Settings) -> DataModule:
    """Build the data module of a validated data config.

    Only `source`, `recipe`, `split`, `sampling`, `loader`, `augment`, `blend` and `cache` describe objects to build.
    The other keys, such as `root`, are plain values that these eight refer to by interpolation.
    """
    parts = {name: build(settings[name]) for name in (*PARTS, "cache") if name in settings}
    return DataModule(**parts, prepared=settings["prepared"])


def data_module(source: type[Source]) -> type[DataModule]:
    """Return a DataModule subclass for one source class; its constructor is `(name, root, recipe, split=..., ...)`.

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
