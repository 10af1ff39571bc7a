"""wav2vec 2.0 as an encoder of speech, and a classifier of recordings with any encoder of sound.

"wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations", Baevski et al. 2020
(arXiv:2006.11477). The features are a learned, softmax-weighted sum of the outputs of all layers, as in "SUPERB", Yang
et al. 2021 (arXiv:2105.01051, section 3).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from unmask.networks.layout import classifier
from unmask.networks.video_weights import quiet
from unmask.networks.waves import expect_waves
from unmask.networks.weights import WeightsNotFound

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)  # of all published models; one frame takes 20 ms
# Entries of a config in transformers that weights must share with ours, and our names for them.
KNOBS = {
    "hidden_size": "hidden", "num_hidden_layers": "layers", "num_attention_heads": "heads", "conv_dim": "channels",
    "intermediate_size": "4 * hidden", "feat_extract_norm": "norm", "do_stable_layer_norm": "norm", "conv_bias": "norm",
    "conv_kernel": "fixed", "conv_stride": "fixed",
}  # fmt: skip


class Wav2Vec2Encoder(nn.Module):
    """Encode recordings with transformers' `Wav2Vec2Model`; each recording is scaled to mean 0 and variance 1.

    Args:
        hidden: width of the transformer's tokens, a multiple of 16.
        layers: number of transformer layers.
        heads: number of attention heads; must divide `hidden`.
        channels: channels of each of the seven convolutions.
        norm: `group` (after the first convolution only, as in wav2vec2-base) or `layer` (in all layers, as in
            wav2vec2-large-lv60 and XLS-R).
        frozen: whether the weights are kept fixed, except for those of the sum over layers.
        pretrained: a name on the Hugging Face hub or a folder written by `save_pretrained` (safetensors only); the
            sizes must match. None for random weights.
        download: whether to download weights that are not in the hub's cache.

    Raises:
        ValueError: a size is invalid or differs from that of the weights.
        WeightsNotFound: the weights of `pretrained` are missing and could not be downloaded.
    """

    def __init__(
        self,
        hidden: int = 768,
        layers: int = 12,
        heads: int = 12,
        channels: int = 512,
        norm: str = "group",
        frozen: bool = False,
        pretrained: str | None = None,
        download: bool = False,
    ) -> None:
        super().__init__()
        if hidden % heads or hidden % 16:
            raise ValueError(f"hidden={hidden}, heads={heads}: expected a multiple of 16 that heads divides")
        if norm not in ("group", "layer"):
            raise ValueError(f"norm={norm}: expected group or layer")
        stable = norm == "layer"
        config = Wav2Vec2Config(
            hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden,
            conv_dim=(channels,) * len(KERNELS), conv_kernel=KERNELS, conv_stride=STRIDES, feat_extract_norm=norm,
            do_stable_layer_norm=stable, conv_bias=stable, apply_spec_augment=False, layerdrop=0.0,
        )  # fmt: skip
        self.model = Wav2Vec2Model(config)
        if pretrained is not None:
            self.model.load_state_dict(_published(config, pretrained, download).state_dict())
        self.layer_weights = nn.Parameter(torch.zeros(layers + 1))
        self.num_features, self.frozen = hidden, frozen
        self.shortest = _shortest()
        self.model.requires_grad_(not frozen)
        self.model.masked_spec_embed.requires_grad_(False)  # only used for masked frames, which do not occur here
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; a frozen model stays in eval mode, so that it has no dropout."""
        super().train(mode)
        if self.frozen:
            self.model.eval()  # type: ignore[no-untyped-call]
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [B, T, num_features] of waveforms x [B, S] in [-1, 1], 16 kHz; one per 20 ms."""
        expect_waves(x, self.shortest)
        scaled = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-7).sqrt()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            outputs = self.model(scaled, output_hidden_states=True).hidden_states  # layers + 1 of [B, T, F]
        weights = self.layer_weights.softmax(0)
        return torch.stack([weight * output for weight, output in zip(weights, outputs, strict=True)]).sum(0)


class SoundClassifier(nn.Module):
    """Classify a recording with an encoder of sound, attention pooling over time and a small head.

    The pooled features are the mean and the standard deviation over time, with a learned weight for each frame
    (arXiv:1803.10963).

    Args:
        encoder: maps waveforms [B, S] to features [B, T, F], and has the attribute `num_features` F.
        width: width of the hidden layer; None for a linear classifier.
        dropout: dropout probability before the last linear layer, 0 to 1.
    """

    def __init__(self, encoder: nn.Module, width: int | None = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        inside: int = encoder.num_features  # type: ignore[assignment]
        self.attention = nn.Linear(inside, 1)
        self.num_features = 2 * inside
        self.classifier = classifier(self.num_features, dropout, width)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, num_features] of waveforms x [B, S] in [-1, 1], 16 kHz."""
        return pooled(self.encoder(x), self.attention)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, num_features]; positive means fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of waveforms x [B, S] in [-1, 1], 16 kHz; positive means fake."""
        return self.head(self.encode(x))


def pooled(features: Tensor, attention: nn.Module) -> Tensor:
    """Return the weighted mean and standard deviation over time, [B, 2 F], of features [B, T, F].

    Args:
        features: [B, T, F].
        attention: maps features [B, T, F] to logits of the weights [B, T, 1].
    """
    weight = attention(features).float().softmax(1)
    mean = (weight * features).sum(1)
    variance = (weight * (features - mean.unsqueeze(1)).square()).sum(1)
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1).to(features.dtype)


def _shortest() -> int:
    """Return the number of samples of one frame of the convolutions."""
    span = 1
    for kernel, stride in zip(reversed(KERNELS), reversed(STRIDES), strict=True):
        span = (span - 1) * stride + kernel
    return span


def _published(ours: Wav2Vec2Config, name: str, download: bool) -> Wav2Vec2Model:
    """Return the published model, whose sizes must match `ours`."""
    if Path(name).expanduser().is_dir():
        name = str(Path(name).expanduser())
        if not (Path(name) / "config.json").is_file():  # else transformers would use the default config
            raise _missing(name, download)
    with quiet():
        try:
            theirs, _ = Wav2Vec2Config.get_config_dict(name, local_files_only=not download)
            _compare(ours, Wav2Vec2Config.from_dict(theirs), str(theirs.get("model_type")), name)
            loaded = Wav2Vec2Model.from_pretrained(
                name,
                local_files_only=not download,
                use_safetensors=True,  # the other format is a pickle, which can run code
                output_loading_info=True,
            )
        except OSError as error:
            raise _missing(name, download) from error
        except SafetensorError as error:
            raise ValueError(f"pretrained={name}: its model.safetensors is damaged: {error}") from error
    model, report = cast("tuple[Wav2Vec2Model, Mapping[str, Sequence[str]]]", loaded)
    if lacking := [key for key in report["missing_keys"] if key != "masked_spec_embed"]:
        raise ValueError(f"pretrained={name}: {len(lacking)} tensors are missing, such as {lacking[0]}")
    return model


def _compare(ours: Wav2Vec2Config, theirs: Wav2Vec2Config, kind: str, name: str) -> None:
    if kind != "wav2vec2":
        raise ValueError(f"pretrained={name} has model_type {kind}, not wav2vec2")
    mine, found = ours.to_dict(), theirs.to_dict()
    for key, word in KNOBS.items():
        a, b = (list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
                for value in (mine[key], found[key]))  # fmt: skip
        if a != b:
            raise ValueError(f"pretrained={name}: its {key} is {b}, but the config has {a} (set {word})")


def _missing(name: str, download: bool) -> WeightsNotFound:
    hint = "" if download else "; or set download=true to download it"
    place = f"any folder, and pass pretrained=FOLDER; or run `hf download {name}`, which fills the cache{hint}"
    return WeightsNotFound(name, f"https://huggingface.co/{name}, config.json and model.safetensors", place)
