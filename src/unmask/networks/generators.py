"""The interface of networks that `modules.gan.GAN` can train as generators."""

from typing import Protocol

from torch import Tensor


class GeneratorNetwork(Protocol):
    """A network that makes images from normal random numbers in two steps: random numbers -> codes -> images.

    The codes are what a film interpolates. In a DCGAN, they are the latents themselves; in a style-based generator,
    they are the styles of the layers.
    """

    training: bool

    @property
    def inputs(self) -> int:
        """Number N of standard normal random numbers per image."""

    @property
    def attributes(self) -> int:
        """Number of attributes that the generator is conditioned on; 0 if it is unconditional."""

    @property
    def mean(self) -> Tensor | None:
        """Running mean of styles [L], which the module updates; None if the codes are not styles [B, layers, L]."""

    def __call__(self, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return images [B, 3, S, S] in about [-1, 1] for random numbers z [B, N] and attributes [B, A] or None."""

    def codes(self, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return codes [B, ...] for random numbers z [B, N] and attributes."""

    def render(self, codes: Tensor, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return images [B, 3, S, S] for codes; random numbers that the codes do not contain are taken from z."""

    def train(self, mode: bool = True) -> object:
        """Switch between training mode and evaluation mode."""
