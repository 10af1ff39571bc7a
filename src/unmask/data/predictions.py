"""Compute logits and prediction tables, for training, evaluation and single files."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data.pixels import to_float

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unmask.data.dataset import CropDataset
    from unmask.data.loader import Loader

COLUMNS = ("item", "track", "frame", "time", "label", "method")  # columns taken from the sample table


def prediction_table(
    samples: pd.DataFrame, members: pd.DataFrame, split: str, index: "Tensor", logit: "Tensor"
) -> pd.DataFrame:
    """Return the prediction table of logits [N] that were computed with PyTorch; see `table_of`."""
    return table_of(samples, members, split, index.cpu().numpy(), logit.float().cpu().numpy())


def table_of(
    samples: pd.DataFrame,
    members: pd.DataFrame,
    split: str,
    index: NDArray[np.int64],
    logit: NDArray[np.float32],
) -> pd.DataFrame:
    """Return one row per scored sample, and one row with a null logit for each item without scored samples.

    An item has no scored samples if it could not be prepared or was in no batch (`trainer.limit_test_batches`). Such
    items lower the reported coverage, the share of items with a score.

    Args:
        samples: one row per sample, with the columns `COLUMNS`.
        members: the items of the split: `item`, `label`, `method`, `dataset`.
        split: name of the split.
        index: rows of `samples` [N]; a repeated row (from a padded last batch) counts once.
        logit: [N].

    Raises:
        ValueError: a logit is NaN or infinite; the message names an item with such a logit.
    """
    first = np.unique(index, return_index=True)[1]
    rows = samples.iloc[index[first]].reset_index(drop=True)
    rows = rows.assign(logit=logit.astype(np.float64)[first])
    _require_finite(rows, split)
    named = pd.concat([samples[["item", "label", "method"]].drop_duplicates(), members[["item", "label", "method"]]])
    named = named.drop_duplicates("item")
    lost = named[~named["item"].isin(rows["item"])]
    if len(lost):
        empty = lost.assign(track=0, frame=-1, time=np.nan, logit=np.nan)
        rows = pd.concat([rows, empty[rows.columns]], ignore_index=True)
    return rows.assign(dataset=_datasets(rows, members), split=split)


def score_samples(network: "nn.Module", samples: "CropDataset", loader: "Loader", localises: bool) -> "Tensor":
    """Compute the logits of samples as in evaluation, but without a Trainer; return them on the CPU [N].

    Args:
        network: a detector network in eval mode; it is run on the device of its parameters.
        samples: frames or clips.
        loader: only the sizes of batches and of the network's input are used.
        localises: whether the network returns pixel logits [B, 1, H, W], which `of_pictures` reduces to [B].
    """
    import torch  # not needed to make a table of known logits

    from unmask.networks.inputs import apply
    from unmask.networks.layout import of_pictures

    logits = []
    with torch.inference_mode():
        for batch in _batches(network, samples, loader):
            found = apply(network, batch).float()
            logits.append((of_pictures(found) if localises else found).cpu())
    return torch.cat(logits) if logits else torch.zeros(0)


def score_and_encode(network: "nn.Module", samples: "CropDataset", loader: "Loader") -> "tuple[Tensor, Tensor | None]":
    """Compute logits as `score_samples` does, and the features on which they are based; the encoder is run once.

    Args:
        network: a detector network in eval mode, but not a localising one.
        samples: frames or clips.
        loader: only the sizes of batches and of the network's input are used.

    Returns:
        The logits [N] and the features [N, F], on the CPU. The features of a clip are the mean over its frames. They
        are None for a network without features and if there are no samples.
    """
    import torch

    from unmask.networks.encoded import Encoding
    from unmask.networks.inputs import encode

    if not isinstance(network, Encoding) or not len(samples):
        return score_samples(network, samples, loader, False), None
    logits, features = list["Tensor"](), list["Tensor"]()
    with torch.inference_mode():
        for batch in _batches(network, samples, loader):
            found = encode(network, batch)
            logits.append(network.head(found).float().cpu())
            features.append(pooled(found).cpu())
    return torch.cat(logits), torch.cat(features)


def pooled(features: "Tensor") -> "Tensor":
    """Return one feature vector per sample, float32 [B, F], for features [B, F] or, of clips, [B, T, F]."""
    return (features.float().mean(1) if features.ndim == 3 else features.float()).flatten(1)


def _batches(network: "nn.Module", samples: "CropDataset", loader: "Loader") -> "Iterator[dict[str, Tensor]]":
    """Yield the samples as the network's inputs, pixels in [0, 1] and sound in [-1, 1], on the network's device."""
    from unmask.networks.layout import device_of

    device = device_of(network)
    for start in range(0, len(samples), loader.batch_size):
        wanted = range(start, min(start + loader.batch_size, len(samples)))
        yield {name: to_float(x.to(device), loader.image_size) for name, x in samples.inputs(wanted).items()}


def empty_table(samples: pd.DataFrame, members: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the prediction table of a split in which no item could be prepared: each item has a null logit."""
    return table_of(samples, members, split, np.zeros(0, np.int64), np.zeros(0, np.float32))


def _datasets(rows: pd.DataFrame, members: pd.DataFrame) -> "pd.Series[str]":
    """Return the data set of each row; a self-blend belongs to the data set of its real item."""
    of = dict(zip(members["item"], members["dataset"], strict=True))
    found = [of.get(item, of.get(str(item).rpartition("#")[0])) for item in rows["item"]]
    return pd.Series(found, index=rows.index, dtype=object)


def _require_finite(rows: pd.DataFrame, split: str) -> None:
    wrong = rows[~np.isfinite(rows["logit"])]
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} of {len(rows)} logits of the {split} split are NaN or infinite, such as that of "
            f"{wrong['item'].iloc[0]}: the network's weights are broken, or its activations overflow (try "
            "trainer.precision=32-true). No metrics are computed from these logits"
        )
