"""Loading that all data sets share: manifest and store in, batches out."""

import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unmask.data import sampling
from unmask.data.augment import Augment, augment_each, to_float
from unmask.data.dataset import CropDataset, Sampling
from unmask.data.manifest import Item, ManifestError, check_leaks, items_table
from unmask.data.prepare import Recipe
from unmask.data.splits import PROTOCOLS
from unmask.data.store import CropStore, StoreError

Order = Callable[[np.random.Generator], sampling.Indices]


class CropDataModule(LightningDataModule):
    """A data set of face crops. A data set is a subclass that knows its own disk: `find_items`, `LAYOUT`, `SOURCE`.

    Args:
        name: of the data set, the first part of every item; also its folder of prepared crops.
        root: where the raw files lie.
        prepared: where prepared crops are kept, `<prepared>/<name>/<key of the recipe>`.
        recipe: file -> crops.
        protocol: `official` or `identity_disjoint` (data/splits.py).
        val_fraction: share of the training items held out for validation, by whole people.
        split_seed: of the draw of people; independent of the run's seed, so that seeds share their splits.
        frames: null for single frames, else the length T of a clip.
        frames_per_video: frames (or clips) that a video gives, in training and evaluation.
        consecutive: frames of a clip are `stride` apart in the video; else spread evenly over it.
        stride: in frames of the video.
        image_size: side of the square that the network sees, px.
        batch_size: samples a device.
        balance: of training batches: `classes` draws as many real as fake, `pairs` puts a fake beside its own source,
            `none` draws every sample once.
        augment: a transform of one sample, float in [0, 1].
        num_workers: loader processes; the memory map needs none.
        seed: of order and draws.
        demo: the data is rendered; every figure says so.
    """

    LAYOUT = ""
    SOURCE = ""
    #: Protocols in which no group may be in two splits.
    DISJOINT: tuple[str, ...] = ("identity_disjoint",)

    def __init__(
        self,
        name: str,
        root: str | Path,
        prepared: str | Path,
        recipe: Recipe,
        protocol: str = "official",
        val_fraction: float = 0.1,
        split_seed: int = 0,
        frames: int | None = None,
        frames_per_video: int = 32,
        consecutive: bool = False,
        stride: int = 1,
        image_size: int = 256,
        batch_size: int = 32,
        balance: str = "classes",
        augment: Augment | None = None,
        num_workers: int = 0,
        seed: int = 0,
        demo: bool = False,
    ) -> None:
        super().__init__()
        if protocol not in PROTOCOLS:
            raise ValueError(f"data.protocol={protocol}: there is none; choose {' or '.join(PROTOCOLS)}")
        self.name, self.root, self.recipe, self.demo = name, Path(root), recipe, demo
        self.folder = Path(prepared) / name / recipe.key
        self.protocol, self.val_fraction, self.split_seed = protocol, val_fraction, split_seed
        self.how = Sampling(frames_per_video, frames, consecutive, stride)
        self.image_size, self.batch_size, self.balance = image_size, batch_size, balance
        self.augment: Augment = augment or nn.Identity()
        self.num_workers, self.seed = num_workers, seed
        if balance not in ("none", "classes", "pairs"):
            raise ValueError(f"data.balance={balance}: there is none; choose none, classes or pairs")
        if balance == "pairs" and batch_size % 2:
            raise ValueError(f"data.batch_size={batch_size}: pairs want an even number")
        self.samples: dict[str, CropDataset] = {}
        self._training: sampling.CountedLoader | None = None
        self._given = {"batches": 0}

    def find_items(self) -> list[Item]:
        """What lies on the disk, as manifest rows.

        Raises:
            ManifestError: the folder or a list is missing.
        """
        raise NotImplementedError

    def manifest(self) -> pd.DataFrame:
        """The table of items with the splits of this protocol, as found on the disk."""
        if not self.root.is_dir():
            raise ManifestError(f"data.root={self.root}: there is no such folder\n{self.explain()}")
        return self._split(items_table(self.find_items()))

    def explain(self) -> str:
        """Where the data set is had and the layout that is expected."""
        return f"{self.name} is had from {self.SOURCE}. Expected below data.root:\n{self.LAYOUT}"

    @property
    def store(self) -> CropStore:
        """The prepared crops.

        Raises:
            StoreError: they are not prepared by this recipe; the message holds the command.
        """
        try:
            store = CropStore(self.folder)
        except StoreError as error:
            raise StoreError(f"{error}. To prepare them:\n  {self.prepare_command()}") from None
        made = {name: value for name, value in store.recipe.items() if name not in ("root", "key")}
        if made != dict(self.recipe.describe()):
            raise StoreError(f"{self.folder} was made by another recipe: {made}; delete it and prepare again")
        return store

    def prepare_command(self) -> str:
        """The command that prepares what this data module reads."""
        settings = {k: v for k, v in vars(self.recipe).items() if not k.startswith("_")}
        defaults = vars(type(self.recipe)())
        changed = [f"data.recipe.{key}={value}" for key, value in settings.items() if value != defaults.get(key)]
        return shlex.join(["unmask", "prepare", f"data={self.name}", f"data.root={self.root}", *changed])

    def _split(self, items: pd.DataFrame) -> pd.DataFrame:
        return items.assign(split=PROTOCOLS[self.protocol](items, val_fraction=self.val_fraction, seed=self.split_seed))

    def setup(self, stage: str | None = None) -> None:
        """Open the store, split it, refuse leaks, and make the samples of each split."""
        if self.samples:
            return
        store = self.store
        items = self._split(store.items)
        check_leaks(items, store.crops, self.protocol in self.DISJOINT)
        self.items = items
        usable = items[items["rejected"].isna()]
        for split in ("train", "val", "test"):
            rows = usable[usable["split"] == split]
            self.samples[split] = CropDataset(store, rows, self.how, self.seed if split == "train" else None)
            if split in ("train", "val") and stage == "fit" and rows["label"].nunique() < 2:
                real, fake = (int((rows["label"] == label).sum()) for label in (0, 1))
                raise ManifestError(
                    f"the {split} split holds {real} real and {fake} fake items and needs both; give it more with "
                    f"data.val_fraction (now {self.val_fraction}) or choose another data.protocol"
                )

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled, balanced, drawn anew each epoch; in a resumed run it goes on after the batches that were given."""
        data = self.samples["train"]
        if self.balance == "pairs":
            self._training = self._loader(data, partial(sampling.paired_order, data.labels, data.sources()), unit=2)
        elif self.balance == "classes":
            self._training = self._loader(data, partial(sampling.balanced_order, data.labels))
        else:
            self._training = self._loader(data, lambda rng: rng.permutation(len(data)))
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

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The same samples in the same order each time."""
        return self._loader(self.samples["val"])

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The test split."""
        return self._loader(self.samples["test"])

    def _loader(self, data: CropDataset, order: Order | None = None, unit: int = 1) -> sampling.CountedLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return sampling.CountedLoader(
            data,
            batch_size=self.batch_size,
            sampler=sampling.CountedSampler(len(data), self.seed, order, unit, rank, world),
            num_workers=self.num_workers,
            collate_fn=_as_is,  # the data set gathers whole batches
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            multiprocessing_context="spawn" if self.num_workers and os.name == "posix" else None,
        )

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """On the device: uint8 -> float in [0, 1] at `image_size`; in training, augmented."""
        batch["x"] = to_float(batch["x"], self.image_size)
        if self.trainer is not None and self.trainer.training:
            seeds = [
                hash((self.seed, self.trainer.current_epoch, int(index))) & (2**63 - 1) for index in batch["index"]
            ]
            batch["x"] = augment_each(batch["x"], self.augment, seeds)
        return batch

    def predictions(self, split: str, index: Tensor, logit: Tensor) -> pd.DataFrame:
        """The prediction table of a split: rows of these samples, and of every item that could not be scored.

        Args:
            split: `train`, `val` or `test`.
            index: rows of the sample table [N]; a row that comes twice (a filled-up last batch) counts once.
            logit: [N].
        """
        first = np.unique(index.cpu().numpy(), return_index=True)[1]
        rows = self.samples[split].table.iloc[index.cpu().numpy()[first]].reset_index(drop=True)
        rows = rows.assign(logit=logit.float().cpu().numpy().astype(np.float64)[first])
        members = self.items[self.items["split"] == split]
        lost = members[members["rejected"].notna()][["item", "label", "method"]]
        if len(lost):
            empty = lost.assign(track=0, frame=-1, time=np.nan, logit=np.nan)
            rows = pd.concat([rows, empty[rows.columns]], ignore_index=True)
        return rows.assign(dataset=self.name, split=split)

    def protocol_words(self, split: str) -> dict[str, str]:
        """What a figure on this data rests on, in words."""
        recipe = {key: value for key, value in self.recipe.describe().items()}
        items = self.items[self.items["split"] == split]
        kind = "frames" if self.how.frames is None else f"clips of {self.how.frames} frames"
        spacing = f"consecutive, stride {self.how.stride}" if self.how.consecutive else "spread evenly"
        real = int((items["label"] == 0).sum())
        shared = (
            "no person is in two splits"
            if self.protocol in self.DISJOINT
            else ("no video is in two splits, but people are: this list shares identities between training and test")
        )
        return {
            "Data": f"{self.name}, {split} split: {real} real and {len(items) - real} fake videos",
            "Split": f"{self.protocol} ({shared})",
            "Samples": f"{self.how.per_item} {kind} a video"
            + (f", {spacing}" if self.how.frames else ", spread evenly"),
            "Crop": f"{recipe['finder']} face {'aligned by landmarks' if recipe['align'] else 'box'} with margin "
            f"{recipe['margin']}, stored at {recipe['crop_size']} px, seen at {self.image_size} px",
            "Decoder": str(recipe["decoder"]),
            "Aggregation": "a video's score is the mean probability of its samples",
        }


def _as_is(batch: Any) -> Any:
    return batch
