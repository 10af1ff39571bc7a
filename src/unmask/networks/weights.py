"""Read pretrained weights from disk, or download them if the config says so; files that can run code are refused.

huggingface_hub is imported only to download, because importing it takes long.
"""

import os
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

FACENET_RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
FACENET_FILES = {
    "vggface2": "20180402-114759-vggface2.pt",
    "casia-webface": "20180408-102900-casia-webface.pt",
}


class WeightsNotFound(FileNotFoundError):
    """A weights file is missing and could not be downloaded; the message says where to get it and where to put it."""

    def __init__(self, file: str | Path, source: str, place: str) -> None:
        super().__init__(f"weights not found: {file}\n  get it from: {source}\n  put it at: {place}")


def read_state_dict(path: str | Path, source: str = "its author") -> dict[str, Tensor]:
    """Read a state dict, onto the CPU, from a `.safetensors` file or a torch file that holds only tensors.

    Raises:
        WeightsNotFound: there is no file at `path`.
        ValueError: the file is damaged or not a state dict, or unpickling it could run code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsNotFound(path, source, str(path))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ValueError(
                    f"{path} is a TorchScript archive, which is code, and is refused: use a state dict from {source}"
                )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} needs unpickling, which can run code, and is refused: save only its state dict, "
            "with safetensors or torch.save(model.state_dict(), ...)"
        ) from error
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is not a readable weights file: {error}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} does not hold a state dict (a dict of tensors by name)")
    return dict(state)


def load_state(module: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load all tensors of the module from `state`; further tensors, such as a classifier's, are ignored.

    Raises:
        ValueError: a tensor is missing or has a different shape, so the file belongs to another network.
    """
    ours = module.state_dict()
    missing = [name for name in ours if name not in state and not name.endswith("num_batches_tracked")]
    misfit = [name for name, value in ours.items() if name in state and state[name].shape != value.shape]
    if missing or misfit:
        first = (missing + misfit)[0]
        raise ValueError(
            f"{origin} does not fit {type(module).__name__}: {len(missing)} of {len(ours)} tensors are missing and "
            f"{len(misfit)} have another shape (first: {first}); was it saved from the same network?"
        )
    module.load_state_dict(state, strict=False)


def find(urls: Sequence[str], weights: str | None = None, download: bool = False, folder: Path | None = None) -> Path:
    """Return the path of a published network's weights file: `weights` if given, else a file in `folder`.

    Args:
        urls: addresses at which the same weights are published; `folder` is searched for their file names.
        weights: path to the file; if given, `folder` is not searched.
        download: download from the first of `urls` to `folder` if no file is found.
        folder: the folder for weights files; None for `$TORCH_HOME/hub/checkpoints`.

    Raises:
        WeightsNotFound: no weights file was found or downloaded; the message says where to get it and where to put it.
    """
    source = " or ".join(urls)
    if weights is not None:
        path = Path(weights).expanduser()
        if path.is_file():
            return path
        raise WeightsNotFound(path, source, f"{path}, or pass another path as weights=PATH")
    places = [(folder or Path(torch.hub.get_dir()) / "checkpoints") / url.rpartition("/")[2] for url in urls]
    if found := next((path for path in places if path.is_file()), None):
        return found
    place = f"{places[0]}, or any other path, and pass weights=PATH"
    if not download:
        raise WeightsNotFound(places[0].name, source, f"{place}; or set download=true")
    try:
        _fetch(urls[0], places[0])
    except OSError as error:
        raise WeightsNotFound(places[0].name, source, f"{place}; the download failed ({error})") from error
    return places[0]


def _fetch(url: str, path: Path) -> None:
    """Download a file and check the SHA-256 if the URL contains one; raise URLError if HF_HUB_OFFLINE is set."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        raise URLError("HF_HUB_OFFLINE is set")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(path), hash_prefix=digest_of(url))


def digest_of(url: str) -> str | None:
    """Return the first digits of the SHA-256 in a file name such as `name-DIGEST.pth`; None if there is no digest."""
    found = re.search(r"-([0-9a-f]{8,})\.\w+$", url)
    return found[1] if found else None


def facenet_state(name: str) -> dict[str, Tensor]:
    """Return InceptionResnetV1's weights for `vggface2` or `casia-webface`; the first call downloads them (110 MB).

    The file is stored where facenet-pytorch stores it: in `$TORCH_HOME/checkpoints`, not under `hub/`.
    """
    if name not in FACENET_FILES:
        raise ValueError(f"pretrained={name}: expected one of {', '.join(FACENET_FILES)}, or null")
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    folder = Path(os.environ.get("TORCH_HOME", cache)).expanduser() / "checkpoints"
    source = f"{FACENET_RELEASE}/{FACENET_FILES[name]}"
    return read_state_dict(find([source], download=True, folder=folder), source)


def widen(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pad each tensor's input channels (dim 1) with zeros to the shape of the tensor with the same name in `like`."""
    padded = {}
    for name, value in state.items():
        wide = value.new_zeros(like[name].shape)
        wide[(slice(None), slice(value.shape[1])) if value.ndim > 1 else ...] = value
        padded[name] = wide
    return padded
