"""Published weights of video transformers, adapted to any image size and clip length.

Position embeddings are interpolated, bicubic in space and linear in time; everything else is loaded unchanged.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import PreTrainedConfig, PreTrainedModel, VideoMAEForVideoClassification
from transformers import logging as chatter

from unmask.networks.weights import WeightsNotFound

Grid = tuple[int, int, int]  # numbers of tokens along time, height and width
Sizes = Mapping[str, Any]  # entries of a transformers config, by name
POSITIONS, TIMES = "embeddings.position_embeddings", "embeddings.time_embeddings"


@dataclass(frozen=True)
class Family:
    """The transformers classes and the input normalisation of one architecture: ViViT, VideoMAE or TimeSformer.

    Attributes:
        config, model: the classes in transformers.
        mean, std: per channel; inputs were normalised with these values when the published weights were trained.
        joint: whether one table of position embeddings covers space and time; if false, there are two tables.
    """

    config: type[PreTrainedConfig]
    model: type[PreTrainedModel]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    joint: bool = True


def tubelet(sizes: Sizes) -> tuple[int, int]:
    """Return the number of frames that a token spans and the side in px of the token's patch."""
    span = sizes.get("tubelet_size", 1)
    return (span, sizes["patch_size"]) if isinstance(span, int) else (span[0], span[1])


def parts(whole: PreTrainedModel) -> tuple[PreTrainedModel, nn.Module | None]:
    """Return the base model of a transformers video classifier and, for VideoMAE, the norm layer after mean pooling.

    VideoMAE's position embeddings are computed, not learnt, and no weights file contains them. Here they become a
    buffer, because the model cannot recompute interpolated embeddings.
    """
    model = whole.base_model
    assert isinstance(model, PreTrainedModel)
    embeddings = model.get_submodule("embeddings")
    positions = vars(embeddings).pop("position_embeddings", None)
    if positions is not None:
        embeddings.register_buffer("position_embeddings", positions)
    return model, whole.fc_norm if isinstance(whole, VideoMAEForVideoClassification) else None


def load(ours: PreTrainedModel, norm: nn.Module | None, family: Family, name: str, download: bool) -> None:
    """Load published weights into the model `ours` and, if given, into `norm`, the norm layer after mean pooling.

    Raises:
        WeightsNotFound: the weights are missing and could not be downloaded.
        ValueError: the weights belong to a model with different sizes, or are incomplete.
    """
    whole, lacking = _published(ours.config, family, name, download)
    model, trained = parts(whole)
    if lacking:
        raise ValueError(
            f"pretrained={name}: {len(lacking)} tensors are missing, such as {lacking[0]}; are these weights from "
            "another network?"
        )
    old, new = grid(model.config.to_dict()), grid(ours.config.to_dict())
    ours.load_state_dict(fitted(model.state_dict(), old, new, family.joint))
    if norm is not None and trained is not None:
        norm.load_state_dict(trained.state_dict())


def _published(ours: PreTrainedConfig, family: Family, name: str, download: bool) -> tuple[PreTrainedModel, list[str]]:
    """Return the published model, whose sizes must match `ours`, and the names of the tensors missing from its file."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        name = str(folder)
        if not (folder / "config.json").is_file():  # else transformers would use the default config
            raise missing(name, download)
    with quiet():
        try:
            found, _ = family.config.get_config_dict(name, local_files_only=not download)
            if (kind := found.get("model_type")) != family.config.model_type:
                raise ValueError(f"pretrained={name} has model_type {kind}, not {family.config.model_type}")
            theirs = family.config.from_dict(found)
            compare(ours, theirs, name)
            sizes = {key: theirs.to_dict()[key] for key in ("image_size", "num_frames")}
            loaded = family.model.from_pretrained(
                name,
                config=family.config.from_dict(ours.to_dict() | sizes),
                local_files_only=not download,
                use_safetensors=True,  # the other format is a pickle, which can run code
                ignore_mismatched_sizes=True,  # only the old classifier can differ; `compare` checked all other sizes
                output_loading_info=True,
            )
        except OSError as error:
            raise missing(name, download) from error
        except SafetensorError as error:
            raise ValueError(f"pretrained={name}: its model.safetensors is damaged: {error}") from error
    whole, report = cast("tuple[PreTrainedModel, dict[str, list[str]]]", loaded)
    return whole, [key for key in report["missing_keys"] if not key.startswith(("classifier.", "fc_norm."))]


# KNOBS: config entry -> argument of `vivit` etc. that sets it. FIXED: config entries that always keep their defaults.
KNOBS = {"hidden_size": "hidden", "num_hidden_layers": "layers", "num_attention_heads": "heads", "patch_size": "patch"}
FIXED = ("intermediate_size", "hidden_act", "layer_norm_eps", "qkv_bias", "qv_bias", "attention_type", "num_channels")


def compare(ours: PreTrainedConfig, theirs: PreTrainedConfig, name: str) -> None:
    """Check that published weights have the sizes of our config, because a run is rebuilt from its config alone.

    Raises:
        ValueError: a size differs; the message says what to set.
    """
    mine, found = (json.loads(config.to_json_string(use_diff=False)) for config in (ours, theirs))
    right = [f"{word}={found[key]}" for key, word in KNOBS.items() if key in mine and mine[key] != found[key]]
    if mine.get("tubelet_size") != found.get("tubelet_size"):
        right.append("tubelet={} patch={}".format(*tubelet(found)))
    if right:
        raise ValueError(f"pretrained={name}: its sizes differ from the config; set {' '.join(right)}")
    for key in FIXED:
        if mine.get(key) != found.get(key):
            raise ValueError(
                f"pretrained={name}: expected {key}={mine.get(key)}, which is fixed, but got {found.get(key)}"
            )


def missing(name: str, download: bool) -> WeightsNotFound:
    """Return an error for missing weights; its message says where to get the weights."""
    if Path(name).is_dir():
        source = "its author, who can write it with model.save_pretrained(FOLDER)"
        return WeightsNotFound("config.json and model.safetensors", source, name)
    hint = "" if download else "; or set download=true to download it"
    place = f"any folder, and pass pretrained=FOLDER; or run `hf download {name}`, which fills the cache{hint}"
    return WeightsNotFound(name, f"https://huggingface.co/{name}, config.json and model.safetensors", place)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' progress bars, and its warnings about the published classifier, which is not used."""
    level = chatter.get_verbosity()
    bars = chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()  # type: ignore[no-untyped-call]
    chatter.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()  # type: ignore[no-untyped-call]


def grid(config: Sizes) -> Grid:
    """Return the number of tokens of a clip along time, height and width."""
    (span, patch), side = tubelet(config), config["image_size"]
    height, width = (side, side) if isinstance(side, int) else side
    return config["num_frames"] // span, height // patch, width // patch


def fitted(state: dict[str, Tensor], old: Grid, new: Grid, joint: bool) -> dict[str, Tensor]:
    """Return a model's state dict with position embeddings resized from the token grid `old` to `new`."""
    if not joint:
        state = state | {TIMES: resized(state[TIMES], (old[0], 1, 1), (new[0], 1, 1))}
        old, new = (1, *old[1:]), (1, *new[1:])
    return state | {POSITIONS: resized(state[POSITIONS], old, new)}


def resized(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Interpolate position embeddings: bicubic in space, linear in time.

    Args:
        table: embeddings [1, P + t * h * w, F], ordered by time, row and column. The first P belong to tokens without a
            position, such as the class token, and stay unchanged.
        old: numbers of tokens t, h, w along time, height and width in `table`.
        new: numbers of tokens t', h', w' in the result.

    Returns:
        [1, P + t' * h' * w', F]; `table` itself if the grids are equal.
    """
    if old == new:
        return table
    frames, height, width = old
    first = table.shape[1] - frames * height * width
    places = table[0, first:].view(frames, height, width, -1).permute(0, 3, 1, 2)  # [t, F, h, w]
    if old[1:] != new[1:]:
        places = interpolate(places, new[1:], mode="bicubic", align_corners=False)
    if frames != new[0]:
        lines = places.flatten(1).T[None]  # [1, F * h' * w', t]
        lines = interpolate(lines, new[0], mode="linear", align_corners=False)
        places = lines[0].T.view(new[0], -1, *new[1:])
    return torch.cat([table[:, :first], places.permute(0, 2, 3, 1).flatten(0, 2)[None]], dim=1)
