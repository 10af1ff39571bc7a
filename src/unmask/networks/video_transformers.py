"""ViViT, VideoMAE and TimeSformer: video transformers from Hugging Face transformers, with a linear classifier.

The arguments of `vivit`, `videomae` and `timesformer` define the network's sizes. Weights loaded with `pretrained` must
have the same sizes, except for the image size and the clip length (see video_weights.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VivitConfig,
    VivitForVideoClassification,
)

from unmask.networks.video_weights import Family, Sizes, load, parts, tubelet

# The published ViViT preprocessor subtracts 0.5 twice. Here, inputs are in [-1, 1], as in the authors' code (scenic).
VIVIT = Family(VivitConfig, VivitForVideoClassification, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
VIDEOMAE = Family(VideoMAEConfig, VideoMAEForVideoClassification, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TIMESFORMER = Family(
    TimesformerConfig, TimesformerForVideoClassification, (0.45, 0.45, 0.45), (0.225, 0.225, 0.225), joint=False
)


class VideoTransformer(nn.Module):
    """Classify a clip with a video encoder and a linear classifier.

    Args:
        encoder: a `VideoEncoder`, for example from `vivit(...)`.
        dropout: dropout probability before the classifier, 0 to 1.
    """

    def __init__(self, encoder: "VideoEncoder", dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.num_features, 1))

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, F] of RGB clips x [B, T, 3, H, W] in [0, 1]."""
        features: Tensor = self.encoder(x)
        return features

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, F]; positive means fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB clips x [B, T, 3, H, W] in [0, 1]; positive means fake."""
        return self.head(self.encode(x))

    def evidence_maps(self, x: Tensor, toward: int = 1) -> Tensor:
        """Return heat maps that show which patches are evidence for one class.

        If the classifier reads the class token (ViViT, TimeSformer), the last layer's attention weights are multiplied
        by the gradients of the logit with respect to the weights. The maps are the positive products, summed over heads
        and queries, as in "Generic Attention-model Explainability", Chefer et al. 2021 (arXiv 2103.15679), but for the
        last layer alone, because TimeSformer's layers attend to different tokens. VideoMAE's classifier reads the mean
        of all tokens, to which a patch contributes even if no token attends to it; its maps are Grad-CAM of the tokens.

        Args:
            x: RGB clips [B, T, 3, H, W] in [0, 1].
            toward: 1 for evidence for fake, 0 for evidence for real.

        Returns:
            [B, T, h, w] of at least 0, one value per patch; frames of the same tubelet have the same map.
        """
        with torch.enable_grad():
            tokens, weights = self.encoder.attend(x.detach().requires_grad_())
            evidence = self.head(self.encoder.pool(tokens)).sum() * (1 if toward else -1)
            source = weights if self.encoder.norm is None else tokens
            (slopes,) = torch.autograd.grad(evidence, source)
        products = (source * slopes).detach()
        values = products.relu().sum((1, 2)) if self.encoder.norm is None else products.sum(2).relu()
        return self.encoder.unfold(values, len(x))


class VideoEncoder(nn.Module):
    """Encode clips with a model of Hugging Face transformers, with the model's own input normalisation and pooling.

    Args:
        family: the architecture: `VIVIT`, `VIDEOMAE` or `TIMESFORMER`.
        frames: length T of a clip. If T is not a multiple of the number of frames per token, the last frame is repeated
            as often as needed.
        image_size: side of the square input in px, a multiple of the patch's side.
        sizes: further arguments of the architecture's config class in transformers.
        pretrained: source of the weights: a name on the Hugging Face hub or a folder written by `save_pretrained`
            (safetensors only); None for random weights.
        download: whether to download weights that are not in the hub's cache.

    Raises:
        ValueError: a size is invalid; the message says what is valid.
        WeightsNotFound: the weights of `pretrained` are missing and could not be downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        family: Family,
        frames: int | None,
        image_size: int,
        sizes: Sizes,
        pretrained: str | None,
        download: bool,
    ) -> None:
        super().__init__()
        if frames is None or frames < 2:
            raise ValueError(f"frames={frames}: a video transformer expects clips; set frames, for example frames=16")
        span, patch = tubelet(sizes)
        if image_size % patch:
            near = max(patch, round(image_size / patch) * patch)
            raise ValueError(f"image_size={image_size}: expected a multiple of the patch size {patch}, such as {near}")
        if sizes["hidden_size"] % sizes["num_attention_heads"]:
            raise ValueError(f"heads={sizes['num_attention_heads']} must divide hidden={sizes['hidden_size']}")
        self.frames, self.image_size, self.num_features = frames, image_size, int(sizes["hidden_size"])
        self.span, self.side, self.joint = span, image_size // patch, family.joint
        self.padded = -(-frames // span) * span  # number of frames, including repetitions of the last one
        build: Callable[..., PreTrainedConfig] = family.config
        config = build(image_size=image_size, num_frames=self.padded, num_labels=1, **sizes)
        self.model, self.norm = parts(family.model(config))
        if pretrained is not None:
            load(self.model, self.norm, family, pretrained, download)
        self.register_buffer("mean", torch.tensor(family.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(family.std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [B, F] of RGB clips x [B, T, 3, H, W] in [0, 1]."""
        return self.pool(self.model(self._prepare(x)).last_hidden_state)

    def attend(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last layer's tokens [B, N, F] and attention weights for RGB clips x [B, T, 3, H, W] in [0, 1].

        The weights are [B, heads, queries, keys] or, if tokens attend only to tokens of the same frame, as in
        TimeSformer, [B * T, heads, queries, keys]. Only transformers' "eager" implementation of attention returns
        weights; all other calls use a faster implementation.
        """
        with eager(self.model):
            found = self.model(self._prepare(x), output_attentions=True)
        return found.last_hidden_state, found.attentions[-1]

    def unfold(self, values: Tensor, clips: int) -> Tensor:
        """Arrange one value per token, [B, N] or [B * T, N], as maps [B, T, h, w]; `clips` is B."""
        area = self.side**2
        patches = self.padded // self.span * area if self.joint else area
        maps = values[:, -patches:].reshape(clips, -1, self.side, self.side)  # without the class token, which is first
        return maps.repeat_interleave(self.span, 1)[:, : self.frames]

    def _prepare(self, x: Tensor) -> Tensor:
        """Return normalised clips [B, padded, 3, H, W]; the last frame is repeated as often as needed."""
        wanted = (self.frames, 3, self.image_size, self.image_size)
        if x.shape[1:] != wanted:
            raise ValueError(
                f"expected clips [B, {', '.join(map(str, wanted))}], but got {list(x.shape)}: set frames and "
                "image_size to the values of the data"
            )
        x = (x - self.mean) / self.std
        return torch.cat([x, x[:, -1:].expand(-1, self.padded - self.frames, -1, -1, -1)], dim=1)

    def pool(self, tokens: Tensor) -> Tensor:
        """Pool tokens [B, N, F] -> [B, F]: return the class token, which is first, or for VideoMAE the mean."""
        features: Tensor = tokens[:, 0] if self.norm is None else self.norm(tokens.mean(1))
        return features


@contextmanager
def eager(model: PreTrainedModel) -> Iterator[None]:
    """Within a `with` block, use the implementation of attention that returns the attention weights."""
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def vivit(
    frames: int | None,
    image_size: int,
    hidden: int = 768,
    layers: int = 12,
    heads: int = 12,
    patch: int = 16,
    tubelet: int = 2,
    pretrained: str | None = None,
    download: bool = False,
) -> VideoEncoder:
    """Build the encoder of ViViT, model 1 (Arnab et al. 2021, arXiv 2103.15691): each tubelet attends to all tubelets.

    Args:
        frames: length T of a clip.
        image_size: side of the square input in px.
        hidden: width of a token.
        layers: number of transformer layers.
        heads: number of attention heads; must divide `hidden`.
        patch: side of a patch in px.
        tubelet: number of frames per tubelet (token).
        pretrained: a name on the hub, a folder, or None; see `VideoEncoder`.
        download: see `VideoEncoder`.
    """
    sizes = common(hidden, layers, heads) | {"tubelet_size": [tubelet, patch, patch]}
    return VideoEncoder(VIVIT, frames, image_size, sizes, pretrained, download)


def videomae(
    frames: int | None,
    image_size: int,
    hidden: int = 768,
    layers: int = 12,
    heads: int = 12,
    patch: int = 16,
    tubelet: int = 2,
    pretrained: str | None = None,
    download: bool = False,
) -> VideoEncoder:
    """Build VideoMAE's encoder (Tong et al. 2022, arXiv 2203.12602): joint attention, fixed positions, mean pooling.

    The arguments are those of `vivit`.
    """
    sizes = common(hidden, layers, heads) | {"patch_size": patch, "tubelet_size": tubelet, "use_mean_pooling": True}
    return VideoEncoder(VIDEOMAE, frames, image_size, sizes, pretrained, download)


def timesformer(
    frames: int | None,
    image_size: int,
    hidden: int = 768,
    layers: int = 12,
    heads: int = 12,
    patch: int = 16,
    pretrained: str | None = None,
    download: bool = False,
) -> VideoEncoder:
    """Build TimeSformer's encoder (Bertasius et al. 2021, arXiv 2102.05095): attention over time, then over space.

    The arguments are those of `vivit`, except that there is no `tubelet`: every frame has its own tokens.
    """
    return VideoEncoder(
        TIMESFORMER, frames, image_size, common(hidden, layers, heads) | {"patch_size": patch}, pretrained, download
    )


def common(hidden: int, layers: int, heads: int) -> dict[str, int]:
    """Return the config entries that all three architectures share; the hidden width of MLPs is 4 x `hidden`."""
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
    }
