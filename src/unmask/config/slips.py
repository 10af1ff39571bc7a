"""Describe an unknown key or option in one line, with a suggestion of what the user probably meant."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unmask.config import conf_dir, either, lone_word, options_of
from unmask.config.targets import nearest

SIMILAR = 0.65  # minimum similarity of a suggestion; 0.6 suggests unet for resnet
FEW = 12  # number of options to list in a message if no option is similar


def explain(error: Exception, config_name: str, overrides: Sequence[str]) -> str:
    """Describe in one line an error that occurred when a config was composed.

    Args:
        error: the exception of Hydra or OmegaConf.
        config_name: the config that was composed.
        overrides: the arguments as typed, such as `experiment=meso4`.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return unknown_option(error.missing_cfg_file, overrides)
    if found := re.match(r"Could not override '([^']+)'", str(error)):
        return unknown_key(found[1], config_name, overrides)
    return str(error).strip().splitlines()[0]


def unknown_option(path: str, overrides: Sequence[str]) -> str:
    """Describe an unknown option, such as `experiment/meso4`; suggest similar names, or list some options."""
    typed = [override.lstrip("+").partition("=") for override in overrides]
    chosen = [(key.partition("@")[0], value) for key, _, value in typed]
    group, name = next((one for one in chosen if "/".join(one) == path), path.rpartition("/")[::2])
    options = options_of(group)
    same = [option for option in options if option.rpartition("/")[2] == name]
    near = same or get_close_matches(name, options, n=3, cutoff=SIMILAR)
    hint = f"did you mean {either(near)}?" if near else _some(sorted(options, key=lambda option: option.count("/")))
    return f"{group}={name}: unknown option; {hint}"


def unknown_key(key: str, config_name: str, overrides: Sequence[str]) -> str:
    """Describe a key that the config does not have; suggest similar keys, or list some keys of the same mapping."""
    value = next((text.partition("=")[2] for text in overrides if text.partition("=")[0] == key), "")
    if key == "path":  # a word without `key=`; see `arguments.quote`
        return lone_word(value.strip("'"))
    parent, _, name = key.rpartition(".")
    known = list(map(str, _keys(parent, config_name, [text for text in overrides if text.partition("=")[0] != key])))
    near = [f"{parent}.{one}" if parent else one for one in nearest(name, known)]
    if not near and not parent:  # for example, `epochs` instead of `trainer.max_epochs`
        inside = _keys("trainer", config_name, [])
        near = [f"trainer.{one}" for one in nearest(name, inside)]
    return f"{key}: unknown key; " + (f"did you mean {either(near)}?" if near else _some(known))


def _keys(parent: str, config_name: str, overrides: Sequence[str]) -> list[str]:
    """Return the keys of the mapping `parent` in a config composed with `overrides`; empty if composing fails."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            config = compose(config_name, list(overrides))
    except (HydraException, OmegaConfBaseException):
        return []
    node = OmegaConf.select(config, parent) if parent else config
    return [str(key) for key in node] if isinstance(node, DictConfig) else []


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:FEW])
    return (
        f"expected one of {shown}{', ...' if len(names) > FEW else ''}"
        if names
        else "to see the config, add: --cfg job"
    )
