"""Published weights of video transformers, brought to any picture size and clip length.

Position encodings are interpolated, bicubic in space and linear in time; everything else is taken as it is.
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

Grid = tuple[int, int, int]  # frames (or tubelets), rows, columns
Sizes = Mapping[str, Any]  # what a config of transformers says, by name
POSITIONS, TIMES = "embeddings.position_embeddings", "embeddings.time_embeddings"


@dataclass(frozen=True)
class Family:
    """What is particular to one of the three.

    Attributes:
        config, model: its classes in transformers.
        mean, std: of each channel, what its published weights were trained with.
        joint: one table of positions for space and time; else one for each.
    """

    config: type[PreTrainedConfig]
    model: type[PreTrainedModel]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    joint: bool = True


def tubelet(sizes: Sizes) -> tuple[int, int]:
    """Frames and px a side that a token spans."""
    span = sizes.get("tubelet_size", 1)
    return (span, sizes["patch_size"]) if isinstance(span, int) else (span[0], span[1])


def parts(whole: PreTrainedModel) -> tuple[PreTrainedModel, nn.Module | None]:
    """A video classifier of transformers without its classifier: the model, and the norm of its tokens' mean or none.

    VideoMAE's positions are computed, not learnt, and kept in no file; here they become a buffer, since those that were
    interpolated cannot be computed again.
    """
    model = whole.base_model
    assert isinstance(model, PreTrainedModel)
    embeddings = model.get_submodule("embeddings")
    positions = vars(embeddings).pop("position_embeddings", None)
    if positions is not None:
        embeddings.register_buffer("position_embeddings", positions)
    return model, whole.fc_norm if isinstance(whole, VideoMAEForVideoClassification) else None


def load(ours: PreTrainedModel, norm: nn.Module | None, family: Family, name: str, download: bool) -> None:
    """Fill a model, and the norm of its tokens' mean where there is one, with published weights.

    Raises:
        WeightsNotFound: they are not at hand.
        ValueError: they are of other sizes, or incomplete.
    """
    whole, lacking = _published(ours.config, family, name, download)
    model, trained = parts(whole)
    if lacking:
        raise ValueError(f"{name} lacks {len(lacking)} tensors, such as {lacking[0]}: is it of another network?")
    old, new = grid(model.config.to_dict()), grid(ours.config.to_dict())
    ours.load_state_dict(fitted(model.state_dict(), old, new, family.joint))
    if norm is not None and trained is not None:
        norm.load_state_dict(trained.state_dict())


def _published(ours: PreTrainedConfig, family: Family, name: str, download: bool) -> tuple[PreTrainedModel, list[str]]:
    """The published model, whose sizes must be ours, and the names of tensors that its file lacks."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        name = str(folder)
        if not (folder / "config.json").is_file():  # transformers would take the default one
            raise missing(name, download)
    with quiet():
        try:
            found, _ = family.config.get_config_dict(name, local_files_only=not download)
            if (kind := found.get("model_type")) != family.config.model_type:
                raise ValueError(f"pretrained={name} is of the type {kind}, not {family.config.model_type}")
            theirs = family.config.from_dict(found)
            compare(ours, theirs, name)
            sizes = {key: theirs.to_dict()[key] for key in ("image_size", "num_frames")}
            loaded = family.model.from_pretrained(
                name,
                config=family.config.from_dict(ours.to_dict() | sizes),
                local_files_only=not download,
                use_safetensors=True,  # the other format is a pickle
                ignore_mismatched_sizes=True,  # the old classifier; all else is compared
                output_loading_info=True,
            )
        except OSError as error:
            raise missing(name, download) from error
        except SafetensorError as error:
            raise ValueError(f"pretrained={name}: its model.safetensors is damaged: {error}") from error
    whole, report = cast("tuple[PreTrainedModel, dict[str, list[str]]]", loaded)
    return whole, [key for key in report["missing_keys"] if not key.startswith(("classifier.", "fc_norm."))]


# What the builders' arguments are called in a config, and what they leave at its default.
KNOBS = {"hidden_size": "hidden", "num_hidden_layers": "layers", "num_attention_heads": "heads", "patch_size": "patch"}
FIXED = ("intermediate_size", "hidden_act", "layer_norm_eps", "qkv_bias", "qv_bias", "attention_type", "num_channels")


def compare(ours: PreTrainedConfig, theirs: PreTrainedConfig, name: str) -> None:
    """Refuse weights of other sizes than those that were asked for: a run is built again from its config alone."""
    mine, found = (json.loads(config.to_json_string(use_diff=False)) for config in (ours, theirs))
    right = [f"{word}={found[key]}" for key, word in KNOBS.items() if key in mine and mine[key] != found[key]]
    if mine.get("tubelet_size") != found.get("tubelet_size"):
        right.append("tubelet={} patch={}".format(*tubelet(found)))
    if right:
        raise ValueError(f"pretrained={name} is of other sizes: set {' '.join(right)}")
    for key in FIXED:
        if mine.get(key) != found.get(key):
            raise ValueError(
                f"pretrained={name} has {key}={found.get(key)}, and here it is {mine.get(key)}, which cannot be changed"
            )


def missing(name: str, download: bool) -> WeightsNotFound:
    """The error for weights that are not at hand."""
    if Path(name).is_dir():
        source = "whoever trained it, by model.save_pretrained(FOLDER)"
        return WeightsNotFound("config.json and model.safetensors", source, name)
    hint = "" if download else "; or set download=true where there is a network"
    place = f"a folder of both files, and pass pretrained=FOLDER; or fill the cache by `hf download {name}`{hint}"
    return WeightsNotFound(name, f"https://huggingface.co/{name}, config.json and model.safetensors", place)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' report of the tensors of an old classifier, and without its bars."""
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
    """How many tokens a clip becomes in time, height and width."""
    (span, patch), side = tubelet(config), config["image_size"]
    height, width = (side, side) if isinstance(side, int) else side
    return config["num_frames"] // span, height // patch, width // patch


def fitted(state: dict[str, Tensor], old: Grid, new: Grid, joint: bool) -> dict[str, Tensor]:
    """A model's state with its positions brought from one grid of tokens to another."""
    if not joint:
        state = state | {TIMES: resized(state[TIMES], (old[0], 1, 1), (new[0], 1, 1))}
        old, new = (1, *old[1:]), (1, *new[1:])
    return state | {POSITIONS: resized(state[POSITIONS], old, new)}


def resized(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Interpolate position encodings, time outermost: bicubic in space, linear in time.

    Args:
        table: [1, P + t * h * w, F]; the P first tokens have no place and stay.
        old: t, h, w.
        new: t', h', w'.

    Returns:
        [1, P + t' * h' * w', F]; the very table where nothing changes.
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
