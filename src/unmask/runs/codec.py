"""Use the autoencoder of a finished run as the codec of a latent diffusion model."""

from typing import Protocol, Self, cast

from torch import Tensor, nn

from unmask.config import Settings
from unmask.runs.address import require_commit
from unmask.runs.errors import RunError
from unmask.runs.opening import open_run

KEY = "module.codec.run"  # the key that users set, for messages


class Spatial(Protocol):
    """A decoder with a spatial latent."""

    shape: tuple[int, int, int]

    def __call__(self, z: Tensor) -> Tensor:
        """Return images [B, 3, S, S] in [0, 1] of latents [B, C h w]."""


class TrainedCodec(nn.Module):
    """The frozen encoder and decoder of an autoencoder run with a spatial latent (`module/encoder=kl`).

    Args:
        encoder: the encoder of the run (see `part_of`).
        decoder: the decoder of the run.
        run: the run folder or the pack from which the weights are loaded. None if a later run that was trained with
            this codec is opened: its checkpoint contains the weights.

    Raises:
        RunError: the run is not a finished variational autoencoder, or its weights cannot be read safely.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, run: str | None = None) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        if run is not None:
            weights = open_run(run).weights()
            for name, network in (("encoder.", encoder), ("decoder.", decoder)):
                own = {key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)}
                network.load_state_dict(own)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def encode(self, x: Tensor) -> Tensor:
        """Return the means of the latents [B, C, h, w] of images x [B, 3, S, S] in [-1, 1]."""
        means: Tensor = self.encoder((x + 1) / 2).float().chunk(2, dim=1)[0]
        return means.view(-1, *cast(Spatial, self.decoder).shape)

    def decode(self, z: Tensor) -> Tensor:
        """Return images [B, 3, S, S] in [-1, 1] of latents z [B, C, h, w]."""
        return 2 * cast(Spatial, self.decoder)(z.flatten(1)).float() - 1


def part_of(folder: str, part: str) -> Settings:
    """Return the config of a part of an autoencoder run, `encoder` or `decoder`, to be contained in another config.

    Raises:
        RunError: the run is not a finished run of an autoencoder with a spatial latent.
    """
    require_commit(folder)
    run = open_run(folder)
    run.require_weights()
    node = run.config["module"].get(part)
    if not isinstance(node, dict) or not str(node.get("_target_")).startswith("unmask.networks.kl."):
        raise RunError(
            f"{KEY}={folder}: {run.name} has no spatial latent; train an autoencoder with experiment=celeba/kl"
        )
    return node
