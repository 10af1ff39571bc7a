"""Loading that all data sets share: manifest and store in, batches out."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unmask.data import checksums, duplicates, features, sampling
from unmask.data.augment import Augmentation, to_float
from unmask.data.blend import SelfBlend
from unmask.data.blended import BlendedDataset
from unmask.data.dataset import CropDataset, Sampling
from unmask.data.manifest import ATTRIBUTE, Item, ManifestError, check_leaks, components, items_table
from unmask.data.recipe import Recipe, overrides
from unmask.data.splits import DEAL_TEST, PROTOCOLS
from unmask.data.store import CropStore, StoreError
from unmask.files import file_hash

HASHED = 16  # files whose bytes are compared where a data set may have been moved
Order = Callable[[np.random.Generator], sampling.Indices]


class CropDataModule(LightningDataModule):
    """A data set of face crops. A data set is a subclass that knows its own disk: `find_items`, `LAYOUT`, `SOURCE`.

    Args:
        name: of the data set, the first part of every item; also its folder of prepared crops.
        root: where the raw files lie.
        prepared: where prepared crops are kept, `<prepared>/<name>/<key of the recipe>`.
        recipe: file -> crops.
        protocol: `official`, `identity_disjoint`, `given` or `seeded` (data/splits.py).
        val_fraction: share of the training items held out for validation, by whole people.
        test_fraction: share of the items dealt to the test split, where no list names it, by whole groups.
        split_seed: of the draw of people; independent of the run's seed, so that seeds share their splits.
        frames: null for single frames, else the length T of a clip.
        frames_per_video: frames (or clips) that a video gives, in training and evaluation.
        consecutive: frames of a clip are `stride` apart in the video; else spread evenly over it.
        stride: in frames of the video.
        max_stride: in training, each consecutive clip draws its stride from 1 to this; null takes `stride`.
        image_size: side of the square that the network sees, px.
        batch_size: samples a device.
        balance: of training batches: `classes` draws as many real as fake, `pairs` puts a fake beside its own source,
            `none` draws every sample once.
        augment: what is done to training samples, in the worker and on the device.
        blend: training and validation take real items alone, and blend them with themselves for fakes; the test split
            keeps the data set's own fakes.
        masks: batches hold the masks of what was manipulated; the recipe must keep them (`recipe.masks`).
        only: `real` takes real items alone, in every split, as a generator does; null takes both classes.
        attributes: names of those that batches hold, such as `Male` and `Smiling`.
        num_workers: loader processes; the memory map needs none.
        seed: of order and draws.
        demo: the data is rendered; every figure says so.
        allow_duplicates: accept items that look alike in two splits, though nothing in the data set relates them.
    """

    LAYOUT = ""
    SOURCE = ""
    #: Protocols in which no group may be in two splits.
    DISJOINT: tuple[str, ...] = ("identity_disjoint", "seeded")
    #: What a protocol promises, in words.
    PROTOCOL_WORDS: Mapping[str, str] = {
        "official": "no video is in two splits, but people are: this list shares identities between training and test",
        "identity_disjoint": "no person is in two splits",
        "given": "as the data set comes divided",
        "seeded": "whole groups, dealt by seed {seed}",
    }
    #: By name of the data set, how many real and fake items its authors publish.
    PUBLISHED: Mapping[str, Mapping[str, int]] = {}
    #: Whether the protocol `given` becomes `seeded` where a copy of the data set does not come divided.
    ELSE_SEEDED = False

    def __init__(
        self,
        name: str,
        root: str | Path,
        prepared: str | Path,
        recipe: Recipe,
        protocol: str = "official",
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        frames: int | None = None,
        frames_per_video: int = 32,
        consecutive: bool = False,
        stride: int = 1,
        max_stride: int | None = None,
        image_size: int = 256,
        batch_size: int = 32,
        balance: str = "classes",
        augment: Augmentation | None = None,
        blend: SelfBlend | None = None,
        masks: bool = False,
        only: str | None = None,
        attributes: Sequence[str] = (),
        num_workers: int = 0,
        seed: int = 0,
        demo: bool = False,
        allow_duplicates: bool = False,
    ) -> None:
        super().__init__()
        if protocol not in PROTOCOLS:
            raise ValueError(f"data.protocol={protocol}: there is none; choose {' or '.join(PROTOCOLS)}")
        self.name, self.root, self.recipe, self.demo = name, Path(root), recipe, demo
        self.folder = Path(prepared) / name / recipe.key
        self.protocol, self.split_seed = protocol, split_seed
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.how = Sampling(frames_per_video, frames, consecutive, stride, max_stride)
        self.image_size, self.batch_size, self.balance = image_size, batch_size, balance
        self.augment, self.masks = augment or Augmentation(), masks
        self.blend = blend if blend is not None and blend.parts else None
        self.only, self.attributes = only, tuple(attributes)
        self.num_workers, self.seed = num_workers, seed
        self.allow_duplicates = allow_duplicates
        if only not in (None, "real"):
            raise ValueError(f"data.only={only}: there is none; choose real, or null for both classes")
        if only and (self.blend or balance != "none"):
            raise ValueError("data.only=real knows one class: set data.balance=none and blend@data.blend=none")
        if balance not in ("none", "classes", "pairs"):
            raise ValueError(f"data.balance={balance}: there is none; choose none, classes or pairs")
        if balance == "pairs" and batch_size % 2:
            raise ValueError(f"data.batch_size={batch_size}: pairs want an even number")
        self.samples: dict[str, CropDataset] = {}
        self._training: sampling.CountedLoader | None = None
        self._given = {"batches": 0}
        self._features = self._fingerprint = ""

    def find_items(self) -> list[Item]:
        """What lies on the disk, as manifest rows.

        Raises:
            ManifestError: the folder or a list is missing.
        """
        raise NotImplementedError

    def manifest(self) -> pd.DataFrame:
        """The table of items with the splits of this protocol, as found on the disk."""
        self.require_root()
        items = items_table(self.find_items())
        bare = items[(items["label"] == 1) & items["mask"].isna()]
        if getattr(self.recipe, "masks", False) and len(bare):
            raise ManifestError(
                f"data.recipe.masks=true: {len(bare)} of {int(items['label'].sum())} fakes have no mask, such as "
                f"{bare['path'].iloc[0]}"
            )
        return self._split(items)

    def explain(self) -> str:
        """Where the data set is had and the layout that is expected."""
        return f"{self.name} is had from {self.SOURCE}. Expected below data.root:\n{self.LAYOUT}"

    def published(self, items: pd.DataFrame) -> dict[str, int]:
        """How many `real` and `fake` items a complete copy holds; nothing where no number is published.

        Args:
            items: the manifest of this copy.
        """
        return {} if self.demo else dict(self.PUBLISHED.get(str(self.name), {}))

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
        self._check_root(store)
        return store

    def unread(self) -> list[tuple[str, str]]:
        """Settings that have no effect beside the others, and why: (name, reason)."""
        found = []
        if self.protocol not in DEAL_TEST and not (self.protocol == "given" and self.ELSE_SEEDED):
            found.append(("test_fraction", f"protocol={self.protocol} takes the test split as the data set has it"))
        if self.how.frames is None:
            found += [(name, "is of clips: set frames=T") for name in ("consecutive", "stride", "max_stride")]
        elif not self.how.consecutive:
            found.append(("stride", "is of consecutive clips: set data.consecutive=true"))
        return found

    def require_root(self) -> None:
        """Refuse a `root` that is not there; crops that are prepared are read without it, unless somebody names it.

        Raises:
            ManifestError: there is no such folder.
        """
        if not self.root.is_dir():
            raise ManifestError(f"data.root={self.root}: there is no such folder\n{self.explain()}")

    def _check_root(self, store: CropStore) -> None:
        """Refuse a `root` that holds other files than those that were prepared; a folder that was moved is the same.

        Raises:
            StoreError: what would be scored is not what `root` names.
        """
        prepared = store.recipe["root"]
        if not self.root.is_dir() or str(self.root.resolve()) == prepared:
            return
        if not self._holds(store.items):
            raise StoreError(
                f"data.root={self.root}: the prepared crops of {self.name} were made from other files, those of "
                f"{prepared}. Give these files a name of their own (data.name=...) or another place "
                f"(paths.prepared=DIR), or replace the crops: {self.prepare_command()} rerun=true"
            )

    def _holds(self, items: pd.DataFrame) -> bool:
        """Whether the files below `root` are those of these items: names, sizes, and the bytes of some."""
        try:
            table = items_table(self.find_items())
            found = {item: self.root / path for item, path in zip(table["item"], table["path"], strict=True)}
            if found.keys() != set(items["item"]):
                return False
            known = items.dropna(subset=["bytes", "sha256"]) if {"bytes", "sha256"} <= set(items) else items.iloc[:0]
            sizes = zip(known["item"], known["bytes"], strict=True)
            some = known.iloc[:: max(1, len(known) // HASHED)]
            hashes = zip(some["item"], some["sha256"], strict=True)
            return all(found[name].stat().st_size == size for name, size in sizes) and all(
                file_hash(found[name]) == sha256 for name, sha256 in hashes
            )
        except (ValueError, OSError):
            return False

    def verify(self) -> None:
        """Read the tables and shards of the store once and compare their checksums, before anything rests on them.

        Raises:
            StoreError: a file changed since it was prepared; the message names it and the command that repairs it.
        """
        if names := checksums.damaged(self.folder):
            raise StoreError(checksums.words(names, self.folder, self.prepare_command()))

    def prepare_command(self) -> str:
        """The command that prepares what this data module reads."""
        changed = overrides(vars(self.recipe), vars(type(self.recipe)()))
        option = f"data/recipe={self.recipe.option}"
        return shlex.join(["unmask", "prepare", *self._choice(), f"data.root={self.root}", option, *changed])

    def _choice(self) -> list[str]:
        """How the command line chooses this data set."""
        return [f"data={self.name}"]

    def _split(self, items: pd.DataFrame) -> pd.DataFrame:
        if self.ELSE_SEEDED and self.protocol == "given" and items["given"].isna().all():
            self.protocol = "seeded"
        shares = {"val_fraction": self.val_fraction}
        if self.protocol in DEAL_TEST:
            shares["test_fraction"] = self.test_fraction
        return items.assign(split=PROTOCOLS[self.protocol](items, seed=self.split_seed, **shares))

    def setup(self, stage: str | None = None) -> None:
        """Open the store, split it, refuse leaks, and make the samples of each split."""
        if self.samples:
            return
        store = self.store
        self._fingerprint = store.fingerprint
        pairs = duplicates.read(store.folder)
        items = self._split(store.items if self.allow_duplicates else duplicates.joined(store.items, pairs))
        if self.blend:  # the fakes of training and validation are not used
            items.loc[(items["label"] == 1) & items["split"].isin(["train", "val"]), "split"] = None
        if self.only:
            items.loc[items["label"] == 1, "split"] = None
        self._check_attributes(items)
        check_leaks(items, store.crops, self.protocol in self.DISJOINT)
        self.duplicates = duplicates.placed(pairs, items)
        if not self.allow_duplicates:
            duplicates.check(self.duplicates, store.folder)
        self.items = items
        usable = items[items["rejected"].isna()]
        for split in ("train", "val", "test"):
            rows = usable[usable["split"] == split]
            self.samples[split] = self._samples(store, rows, split)
            if self.only and not len(rows) and stage == "fit":
                raise ManifestError(f"the {split} split holds no real item; give it some with data.protocol=seeded")
            both = len(np.unique(self.samples[split].labels)) == 2
            if split in ("train", "val") and stage == "fit" and not self.only and not both:
                raise ManifestError(self._one_class(split, rows))

    def _check_attributes(self, items: pd.DataFrame) -> None:
        known = [name.removeprefix(ATTRIBUTE) for name in items.columns if name.startswith(ATTRIBUTE)]
        unknown = [name for name in self.attributes if name not in known]
        if unknown:
            has = f"it knows {', '.join(known)}" if known else "it knows none"
            raise ManifestError(f"data.attributes: {self.name} has no {', '.join(unknown)}; {has}")
        used = items["split"].notna() & items["rejected"].isna()
        bare = items.loc[used, [ATTRIBUTE + name for name in self.attributes]].isna().any(axis=1)
        if bare.any():
            raise ManifestError(f"data.attributes: {int(bare.sum())} of {self.name}'s items have none, see its lists")

    def _one_class(self, split: str, rows: pd.DataFrame) -> str:
        """Why a split cannot train a detector, and what to do."""
        if (self.items["label"] == 0).all() and not self.blend:
            return (
                f"all {len(self.items)} items of {self.name} are real, and a detector learns from both real and fake: "
                "take another data set, or blend@data.blend=sbi, which makes fakes of real faces; as it is it trains "
                "generators only (data.only=real data.balance=none)"
            )
        real, fake = (int((rows["label"] == label).sum()) for label in (0, 1))
        held, needed = (f"{real} real", "some") if self.blend else (f"{real} real and {fake} fake", "both")
        return (
            f"the {split} split holds {held} items and needs {needed}; give it more with data.val_fraction (now "
            f"{self.val_fraction}) or choose another data.protocol"
        )

    def _samples(self, store: CropStore, items: pd.DataFrame, split: str) -> CropDataset:
        seed, augment = (self.seed, self.augment.on_worker) if split == "train" else (None, None)
        if self.blend is None or split == "test":
            return CropDataset(store, items, self.how, seed, augment, self.masks, self.attributes)
        locate = self.recipe.landmarks_in_crop
        return BlendedDataset(store, items, self.how, self.blend, locate, seed, augment, self.masks)

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
        sampler: type[sampling.CountedSampler] = sampling.CountedSampler
        if self.trainer and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            # A few batches of the validation split are to hold both classes, so they are drawn too.
            sampler, order = sampling.FixedSampler, order or (lambda rng: rng.permutation(len(data)))
        return sampling.CountedLoader(
            data,
            batch_size=self.batch_size,
            sampler=sampler(len(data), self.seed, order, unit, rank, world),
            num_workers=self.num_workers,
            collate_fn=_as_is,  # the data set gathers whole batches
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            multiprocessing_context="spawn" if self.num_workers and os.name == "posix" else None,
        )

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """On the device: uint8 -> float in [0, 1] at `image_size`; in training, augmented."""
        if "mask" in batch:
            batch["mask"] = to_float(batch["mask"], self.image_size)
        if "x" not in batch:
            return batch
        batch["x"] = to_float(batch["x"], self.image_size)
        if self.trainer is not None and self.trainer.training:
            epoch = self.trainer.current_epoch
            seeds = [sampling.draw_seed(self.seed, epoch, int(index)) for index in batch["index"]]
            batch["x"], mask = self.augment.on_device(batch["x"], batch.get("mask"), seeds)
            if mask is not None:
                batch["mask"] = mask
        return batch

    @property
    def as_stored(self) -> bool:
        """Whether training samples are the stored crops as they are, so that features of them can be computed once."""
        return not (self.augment.worker or self.augment.device or self.blend)

    def use_features(
        self,
        network: nn.Module,
        encode: features.Encode,
        precision: str,
        device: torch.device | str = "cpu",
        rough: features.Encode | None = None,
    ) -> str:
        """Give batches the `features` of the stored crops in place of `x`; they are computed once and kept on disk.

        Args:
            network: the frozen network that encodes; its layers and weights decide whether what is on disk still fits.
            encode: float [N, 3, H, W] in [0, 1] on the device -> [N, F].
            precision: at which it works, in the Trainer's words.
            device: where.
            rough: the same in bfloat16; taken where it is faithful (`features.FAITHFUL`).

        Returns:
            In words what was done.

        Raises:
            ValueError: training samples are not the stored crops as they are.
        """
        self.setup()
        if not self.as_stored:
            raise ValueError("features are of the stored crops as they are: set augment@data.augment=none, no blends")
        store, key = self.store, features.network_key(network)
        if rough is not None:
            made = features.features_path(store, key, self.image_size, "bf16").is_file()  # it was faithful then
            if made or features.error(store, encode, rough, self.image_size, device) <= features.FAITHFUL:
                encode, precision = rough, "bf16"
        found = features.compute(store, encode, key, self.image_size, precision, device)
        for samples in self.samples.values():
            samples.features = found
        bound = f", within {features.FAITHFUL:.0%} of the spread between crops" if precision == "bf16" else ""
        self._features = (
            f"of the frozen encoder, computed once for each of {len(found.array)} crops ({precision}{bound})"
        )
        return self._features

    def groups(self, split: str) -> np.ndarray[Any, np.dtype[np.object_]]:
        """For each sample of a split the name of what must stay together [N]: all that shares a source or a group."""
        items = self.items[self.items["split"] == split]
        members = [
            [f"item {name}" for name in (item, source) if isinstance(name, str)] + list(groups)
            for item, source, groups in zip(items["item"], items["source"], items["groups"], strict=True)
        ]
        of = components(members)
        return np.array([of[f"item {item}"] for item in self.samples[split].table["item"]], dtype=object)

    def predictions(self, split: str, index: Tensor, logit: Tensor) -> pd.DataFrame:
        """The prediction table of a split: rows of these samples, and a null one for each item without any.

        Such an item could not be prepared, or no batch held it (`trainer.limit_test_batches`). It lowers the coverage.

        Args:
            split: `train`, `val` or `test`.
            index: rows of the sample table [N]; a row that comes twice (a filled-up last batch) counts once.
            logit: [N].

        Raises:
            ValueError: a logit is NaN or infinite; the message names its item.
        """
        first = np.unique(index.cpu().numpy(), return_index=True)[1]
        samples = self.samples[split].table
        rows = samples.iloc[index.cpu().numpy()[first]].reset_index(drop=True)
        rows = rows.assign(logit=logit.float().cpu().numpy().astype(np.float64)[first])
        wrong = rows[~np.isfinite(rows["logit"])]
        if len(wrong):
            raise ValueError(
                f"{len(wrong)} of {len(rows)} logits of the {split} split are NaN or infinite, such as that of "
                f"{wrong['item'].iloc[0]}: the network's weights are broken, or its activations overflow (try "
                "trainer.precision=32-true). No figure is computed from them"
            )
        members = self.items[self.items["split"] == split][["item", "label", "method"]]
        named = pd.concat([samples[["item", "label", "method"]].drop_duplicates(), members]).drop_duplicates("item")
        lost = named[~named["item"].isin(rows["item"])]
        if len(lost):
            empty = lost.assign(track=0, frame=-1, time=np.nan, logit=np.nan)
            rows = pd.concat([rows, empty[rows.columns]], ignore_index=True)
        return rows.assign(dataset=self.name, split=split)

    def empty_predictions(self, split: str) -> pd.DataFrame:
        """The prediction table of a split without samples: null rows of what could not be prepared, if anything."""
        return self.predictions(split, torch.zeros(0, dtype=torch.long), torch.zeros(0))

    def why_empty(self, split: str) -> str:
        """Say why a split holds no sample, and how to give it some."""
        members = self.items[self.items["split"] == split]
        if len(members):
            reasons = members["rejected"].value_counts().head(3)
            listing = ", ".join(f"{count} x {reason}" for reason, count in reasons.items())
            return f"none of the {len(members)} items of {self.name}'s {split} split could be prepared ({listing})"
        kept = "without the fakes " if self.only else ""
        return (
            f"the {split} split of {self.name} is empty {kept}(data.protocol={self.protocol}); put items into it, or "
            f"deal some with data.protocol=seeded data.{split}_fraction=0.2"
        )

    def protocol_words(self, split: str) -> dict[str, str]:
        """What a figure on this data rests on, in words."""
        items = self.items[self.items["split"] == split]
        table = self.samples[split].table  # of a video even a single frame is not its first
        pictures = self.how.frames is None and table["item"].is_unique and bool((table["frame"] == 0).all())
        noun = "pictures" if pictures else "videos"
        kind = "frames" if self.how.frames is None else f"clips of {self.how.frames} frames"
        burst = self.how.consecutive and self.how.frames is not None
        spacing = f"consecutive, stride {self.how.stride}" if burst else "spread evenly"
        real = int((items["label"] == 0).sum())
        promise = self.PROTOCOL_WORDS[self.protocol].format(seed=self.split_seed)
        held = f"{real} real and {len(items) - real} fake {noun}"
        if self.blend and split != "test":
            held = f"{real} real {noun} and their self-blends"
        training = {"Training": "real items alone, self-blended (arXiv 2204.08376)"} if self.blend else {}
        computed = {"Features": self._features} if self._features else {}
        masked = self.recipe.option == "faces" and bool(items["mask"].notna().any())
        chosen = "; of fakes with a mask only faces that it touches" if masked else ""
        alike = {"Duplicates": told} if (told := duplicates.words(self.duplicates)) else {}
        return training | {
            "Data": f"{self.name}, {split} split: {held}",
            "Split": f"{self.protocol} ({promise})",
            "Samples": "each picture once" if pictures else f"{self.how.per_item} {kind} a video, {spacing}",
            "Crop": self.recipe.words(self.image_size) + chosen,
            **computed,
            "Decoder": str(self.recipe.describe()["decoder"]),
            "Manifest": self._fingerprint,
            "Aggregation": "none" if pictures else "a video's score is the mean probability of its samples",
            **alike,
        }


def _as_is(batch: Any) -> Any:
    return batch
