"""Use the network of a finished run as an encoder, whose features another classifier receives as input."""

from collections.abc import Iterable
from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn

from unmask.config import Settings
from unmask.networks.encoded import EncodedNetwork
from unmask.runs.address import require_commit
from unmask.runs.errors import RunError
from unmask.runs.opening import open_run
from unmask.runs.origins import require_unseen_by

KEY = "module.network.encoder.run"  # the key that users set, for messages


@runtime_checkable
class Encodes(Protocol):
    """Interface of a frame detector whose last layers classify features."""

    num_features: int

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [N, num_features] of RGB frames x [N, 3, H, W] in [0, 1]."""


class TrainedEncoder(nn.Module):
    """Encode frames with the network of a finished detector run, without its classifier.

    Args:
        network: the network of the run (see `network_of`). It is either an `EncodedNetwork`, whose encoder is used, or
            a network that has a method `encode`.
        run: the run folder or the pack from which the weights are loaded. None if a later run that was trained with
            this encoder is opened: the checkpoint of that later run already contains the encoder's weights.
        channels: number of input channels; only 3, RGB.

    Raises:
        RunError: the run is not a finished detector, or its weights cannot be read safely.
        ValueError: the network has no encoder or was pruned, or `channels` is not 3.
    """

    def __init__(self, network: nn.Module, run: str | None = None, channels: int = 3) -> None:
        super().__init__()
        if channels != 3:
            raise ValueError(f"{KEY}={run}: a trained network takes 3 channels, but {channels} are needed")
        if not isinstance(network, EncodedNetwork | Encodes):
            raise ValueError(
                f"{KEY}={run}: {type(network).__name__} does not separate an encoder from a classifier; choose the run "
                "of another network, such as module/network=cnn or timm"
            )
        self.channels, self.run = channels, run
        self.num_features = int((network.encoder if isinstance(network, EncodedNetwork) else network).num_features)  # type: ignore[arg-type]
        self.network = network
        if self.run is not None:
            weights, own = open_run(self.run).network().state_dict(), network.state_dict()
            if any(value.shape != own[name].shape for name, value in weights.items()):
                raise ValueError(
                    f"{KEY}={run}: channels of this network were removed, and a pruned network cannot be an encoder; "
                    "choose the run that it was pruned from"
                )
            network.load_state_dict(weights)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, num_features] of RGB frames x [N, 3, H, W] in [0, 1]."""
        network = self.network
        features: Tensor = (
            network.encoder(x) if isinstance(network, EncodedNetwork) else cast(Encodes, network).encode(x)
        )
        return features

    def require_unseen(self, items: Iterable[str]) -> None:
        """Check that the network was neither trained nor selected on these test items, which are given by name.

        Raises:
            ValueError: some items were in the training or validation split of the run.
        """
        if self.run is not None:
            require_unseen_by(KEY, open_run(self.run), items)


def network_of(folder: str) -> Settings:
    """Return the config of a run's network, so that another config can contain the network.

    Raises:
        RunError: the run is not a finished detector, or its config or its checkpoint is refused.
        ForeignConfigError: the config of the run is refused.
    """
    require_commit(folder)
    run = open_run(folder)
    run.require_weights()
    if not run.detects:
        raise RunError(f"run={folder}: {run.name} is a {run.kind}; expected a run of a detector")
    run.network()  # builds the network with a limit on its size, and reads its weights, so that a bad run fails here
    node: Settings = run.config["module"]["network"]
    return node
