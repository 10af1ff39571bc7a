"""Build timm models with weights from the Hugging Face hub, a Python package or a file.

timm and huggingface_hub are imported only when a model is built, because importing them, and torchvision with them,
takes longer than importing PyTorch.
"""

import difflib
import sys
from typing import Any

from torch import nn

from unmask.networks.packaged import packaged_state
from unmask.networks.weights import WeightsNotFound, load_state, read_state_dict, widen

Options = dict[str, Any]  # arguments of timm.create_model


def timm_model(
    name: str, channels: int, image_size: int | None, pretrained: bool | str, weights: str | None
) -> nn.Module:
    """Build a timm model without its classifier, with random weights or weights from the hub, a package or a file.

    A weights file must use timm's parameter names and belong to a model for RGB. If `channels` is more than 3, the
    weights of the red, green and blue channels are loaded, and the weights of the other channels start at zero.
    """
    options: Options = {} if image_size is None or not _fixed_input(name) else {"img_size": image_size}
    if not pretrained and weights is None:
        return _create(name, options | {"in_chans": channels})
    if isinstance(pretrained, str):
        source = _create(name, options)
        source.load_state_dict(packaged_state(name, pretrained, source.state_dict()))
    elif weights is None:
        source = _download(name, options)
    else:
        source = _create(name, options)
        adapt = vars(sys.modules[type(source).__module__]).get("checkpoint_filter_fn")
        state = read_state_dict(weights)
        load_state(source, adapt(state, source) if adapt else state, weights)
    if channels == 3:
        return source
    target = _create(name, options | {"in_chans": channels})
    target.load_state_dict(widen(source.state_dict(), target.state_dict()))
    return target


def _fixed_input(name: str) -> bool:
    """Return whether the architecture accepts only the input size that it is built for, as most transformers do."""
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model(name) else None
    return bool(config and config.fixed_input_size)


def _create(name: str, options: Options) -> nn.Module:
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models() + timm.list_pretrained(), n=3)
        raise ValueError(f"timm has no model {name}; nearest: {', '.join(near) or 'none, see timm.list_models()'}")
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **options)
    return model


def _download(name: str, options: Options) -> nn.Module:
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import EntryNotFoundError

    config = _create(name, options).pretrained_cfg
    hub = config.get("hf_hub_id") if isinstance(config, dict) else None
    if hub is None:
        raise ValueError(f"timm publishes no weights for {name}: set pretrained=false, or weights=PATH")
    try:
        model: nn.Module = timm.create_model(name, pretrained=True, num_classes=0, **options)
    except (OSError, EntryNotFoundError) as error:
        source = f"https://huggingface.co/{hub}, file model.safetensors (or pytorch_model.bin)"
        place = f"any path, and pass weights=PATH; or run `hf download {hub}`, which stores it in {HF_HUB_CACHE}"
        raise WeightsNotFound(f"{name} ({hub})", source, place) from error
    return model
