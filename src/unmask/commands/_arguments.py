"""Every argument takes effect or is refused: what was typed is held against what a verb reads."""

from collections.abc import Iterable

from hydra.core.hydra_config import HydraConfig

ALWAYS = ("hydra.", "hydra/", "local")  # Hydra's own settings, and the user's


def given() -> list[str]:
    """The keys of the overrides on the command line, such as `data.root` or `data/recipe`; none outside of Hydra."""
    if not HydraConfig.initialized():
        return []
    return [override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task]


def refuse_unread(read: Iterable[str], why: str) -> None:
    """Refuse what was typed and would have no effect.

    Args:
        read: keys that take effect; `trainer.` stands for all below `trainer`.
        why: ends the message: why the others have none.

    Raises:
        ValueError: an override has no effect.
    """
    known = (*read, *ALWAYS)
    unread = [
        key for key in given() if not any(key.startswith(one) if one[-1] in "./" else key == one for one in known)
    ]
    if unread:
        raise ValueError(f"{', '.join(unread)}: {why}")
