"""Features of a frozen encoder, computed once for every stored crop and saved next to the crops.

The file name is a hash of everything that determines the content: the encoder's layers and weights, the crops' pixels,
the input size and the precision. A file is computed again if it is damaged (a checksum is stored next to it), or if the
current encoder gives different features for some of the crops.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from unmask.data.pixels import to_float
from unmask.data.store import CropStore
from unmask.files import checksum, replacing, reserve, write_text

Encode = Callable[[Tensor], Tensor]
BATCH = 64  # crops per batch
CORE_BATCH = 16  # crops per batch and CPU core; 8 and 32 are slower for InceptionResnetV1
TOLERANCE = 0.02  # tolerated difference between devices, as a share of the features' standard deviation
FAITHFUL = 0.05  # tolerated error of a lower precision, as a share of the spread between crops
SAMPLE = 64  # crops used to check a file or a precision


class Features:
    """Features of a store's crops, indexed by rows of the crop table: `features[rows]` -> float32 [N, F]."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map: NDArray[np.float32] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_map": None}  # each process opens its own memory map

    @property
    def array(self) -> NDArray[np.float32]:
        """All features [crops, F]."""
        if self._map is None:
            self._map = np.load(self.path, mmap_mode="r")
        return self._map

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        return np.asarray(self.array[rows])


class JoinedFeatures:
    """Features of several stores, in the order of the joined crop table."""

    def __init__(self, parts: Sequence[Features]) -> None:
        self.parts = list(parts)
        self._starts = np.cumsum([0, *map(len, self.parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        whose = np.searchsorted(self._starts, rows, side="right") - 1
        found = np.empty((len(rows), self.parts[0].array.shape[1]), np.float32)
        for number in np.unique(whose):
            at = np.flatnonzero(whose == number)
            found[at] = self.parts[int(number)][rows[at] - self._starts[number]]
        return found


class Encoding(NamedTuple):
    """How a frozen encoder is run.

    Attributes:
        exact: function that encodes float [N, 3, H, W] in [0, 1] on the device -> [N, F], at the Trainer's precision.
        rough: like `exact`, but in bfloat16; used if its error is at most `FAITHFUL`. None always uses `exact`.
        precision: precision of `exact`, as named by the Trainer.
        device: the device of `exact` and `rough`.
    """

    exact: Encode
    rough: Encode | None
    precision: str
    device: torch.device | str = "cpu"


def of_stores(
    stores: Sequence[CropStore], encoder: nn.Module, how: Encoding, image_size: int
) -> tuple[Features | JoinedFeatures, str]:
    """Return the features of every crop of one or several stores, and the precision at which they were computed.

    Args:
        stores: the crops.
        encoder: the encoder; cached features are used only if its layers and weights are unchanged.
        how: the encoding functions.
        image_size: side of the encoder's input, px.
    """
    key, encode, precision = network_key(encoder), how.exact, how.precision
    if how.rough is not None and all(_faithful(store, key, how, image_size) for store in stores):
        encode, precision = how.rough, "bf16"
    found = [compute(store, encode, key, image_size, precision, how.device) for store in stores]
    return (found[0] if len(found) == 1 else JoinedFeatures(found)), precision


def _faithful(store: CropStore, key: str, how: Encoding, image_size: int) -> bool:
    """Whether bfloat16 is accurate enough for a store's crops; true if bfloat16 features are already on disk."""
    assert how.rough is not None
    if features_path(store, key, image_size, "bf16").is_file():
        return True
    return error(store, how.exact, how.rough, image_size, how.device) <= FAITHFUL


def network_key(network: nn.Module) -> str:
    """Return a hash of everything that determines a network's output: its layers, parameters and buffers."""
    digest = hashlib.sha256(f"{type(network).__module__} {network}".encode())
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def features_path(store: CropStore, network: str, image_size: int, precision: str) -> Path:
    """Return the path of a store's features, given the `network_key`, the input size and the precision."""
    digest = hashlib.sha256(f"{network} {store.recipe['key']} {image_size} {precision}".encode())
    digest.update("".join(store.crops["hash"]).encode())
    return store.folder / "features" / f"{digest.hexdigest()[:20]}.npy"


@torch.no_grad()
def compute(
    store: CropStore,
    encode: Encode,
    network: str,
    image_size: int,
    precision: str = "32-true",
    device: torch.device | str = "cpu",
) -> Features:
    """Return the features of every stored crop, cached on disk.

    Args:
        store: the crops.
        encode: float [N, 3, image_size, image_size] in [0, 1] on the device -> [N, F]; a crop's features must not
            depend on the other crops.
        network: `network_key` of the encoder.
        image_size: side of the encoder's input, px.
        precision: as named by the Trainer.
        device: where `encode` runs.
    """
    path, count = features_path(store, network, image_size, precision), len(store.crops)
    rows = _sample(store)
    with _on_all_cores(encode, device) as work:
        if not path.is_file() or not _good(path, count, rows, next(_encoded(store, work, image_size, device, rows))):
            _write(path, count, _encoded(store, work, image_size, device, np.arange(count)))
    return Features(path)


@torch.no_grad()
def error(store: CropStore, exact: Encode, rough: Encode, image_size: int, device: torch.device | str = "cpu") -> float:
    """Return the root mean square error of `rough` on a sample of crops, as a share of the spread between crops.

    The spread is the features' standard deviation over the sample. The error is not given relative to the features'
    magnitude: different crops have very similar features, so even a harmful error would look small.
    """
    rows = _sample(store)
    right = next(_encoded(store, exact, image_size, device, rows)).astype(np.float64)
    wrong = next(_encoded(store, rough, image_size, device, rows)).astype(np.float64)
    spread = float(np.sqrt(right.var(axis=0).mean()))
    return float(np.sqrt(np.square(wrong - right).mean())) / max(spread, 1e-12)


def _sample(store: CropStore) -> NDArray[np.int64]:
    """Return rows of the crop table, evenly spaced from the first to the last."""
    return np.unique(np.linspace(0, len(store.crops) - 1, SAMPLE).round().astype(np.int64))


@contextmanager
def _on_all_cores(encode: Encode, device: torch.device | str) -> Iterator[Encode]:
    """Yield a function that splits each batch over the CPU cores, one thread each; on a GPU, yield `encode` itself.

    The cores then need not wait for each other in every layer. This makes InceptionResnetV1 25 % faster on two cores.
    """
    cores = torch.get_num_threads()
    if torch.device(device).type != "cpu" or cores == 1:
        yield encode
        return

    def part(x: Tensor) -> Tensor:
        with torch.no_grad():  # this setting is thread-local
            return encode(x)

    torch.set_num_threads(1)  # applies to the threads started below
    try:
        with ThreadPoolExecutor(cores) as pool:
            yield lambda x: torch.cat([*pool.map(part, torch.split(x, min(CORE_BATCH, -(-len(x) // cores))))])
    finally:
        torch.set_num_threads(cores)


def _encoded(
    store: CropStore, encode: Encode, image_size: int, device: torch.device | str, rows: NDArray[np.int64]
) -> Iterator[NDArray[np.float32]]:
    """Encode these rows of the crop table, and yield their features batch by batch."""
    shard, offset = store.crops["shard"].to_numpy()[rows], store.crops["offset"].to_numpy()[rows]
    for start in range(0, len(rows), BATCH):
        at = slice(start, start + BATCH)
        x = torch.from_numpy(store.pixels(shard[at], offset[at])).to(device)
        yield encode(to_float(x, image_size)).float().cpu().numpy()


def _good(path: Path, count: int, rows: NDArray[np.int64], sample: NDArray[np.float32]) -> bool:
    """Whether the file is intact and its values in these rows match the newly computed features `sample`."""
    try:
        array = np.load(path, mmap_mode="r")
        whole = int(_checksum_path(path).read_text()) == checksum(path)
    except (OSError, ValueError, EOFError):  # missing, truncated, or not an array
        return False
    if not whole:
        return False
    if array.shape != (count, sample.shape[1]) or array.dtype != np.float32:
        return False
    rows = rows[: len(sample)]
    return bool(np.abs(array[rows] - sample).max() <= TOLERANCE * max(float(sample.std()), 1e-12))


def _write(path: Path, count: int, batches: Iterator[NDArray[np.float32]]) -> None:
    """Write all batches atomically: a reader finds either the complete file or no file."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        array: np.memmap[tuple[int, ...], np.dtype[np.float32]] | None = None
        start = 0
        for batch in track(batches, "computing features", total=-(-count // BATCH), transient=True):
            if array is None:
                shape = (count, batch.shape[1])
                array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
                reserve(temporary)
            array[start : start + len(batch)] = batch
            start += len(batch)
        if array is not None:
            array.flush()
        write_text(_checksum_path(path), str(checksum(temporary)))


def _checksum_path(path: Path) -> Path:
    return path.with_suffix(".crc32")
