"""Face swapping with a shared encoder and one decoder per person."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.functional import mse_loss
from torch.optim import Optimizer
from torchmetrics.functional.image import structural_similarity_index_measure

from unmask.metrics import generation
from unmask.modules.by_hand import count_batch, learn, updates_now
from unmask.modules.latents import GOLDEN
from unmask.training.draws import Draws
from unmask.training.evaluation import Results
from unmask.training.module import Batch, Module

SHOWN = 6  # maximum number of faces per person in the preview
# The first two metrics compare faces inside the mask, the next two whole crops, and the last one masks. (A decoder
# cannot predict the background of a crop.)
FIGURES = ("psnr", "ssim", "psnr_crop", "ssim_crop", "mask_iou")


class FaceSwap(Module):
    """Train a shared encoder and one decoder per person to reconstruct faces from warped faces (arXiv 2005.05535).

    The reconstruction loss has full weight inside the face mask and the weight `outside` elsewhere; the network also
    learns to predict the mask. A batch counts as one step, even if it updates two networks.

    Args:
        network: (faces [B, 3, S, S] in [0, 1], identity [B]) -> (images [B, 3, S, S], masks [B, 1, S, S]) in [0, 1].
        loss: (reconstructed faces, original faces) -> scalar, the mean over pixels.
        optimizer: parameters -> optimizer, for the network.
        warp: (faces, draws) -> warped faces, in training only.
        mask_weight: weight of the mask's squared error in the loss.
        outside: weight of pixels outside the mask, in [0, 1]; a feathered swap shows some of these pixels.
        discriminator: images in [-1, 1] -> score [B], larger means real; null for training by reconstruction only.
        adversarial: a `training.adversarial.Adversarial`; required with a discriminator.
        optimizer_d: parameters -> optimizer, for the discriminator.
        adversarial_weight: weight of the adversarial loss in the loss of the network.
        clip: maximum gradient norm of an update; null for no clipping.
        monitor: the metric that selects the best checkpoint, such as `val/psnr` (dB, face only), `val/ssim` (face only)
            or `val/psnr_crop` (whole crop).
        mode: `max` if larger values of `monitor` are better, else `min`.
    """

    kind = "swapper"
    #: DDP must expect parameters without gradients: the decoders of people who are absent from a process's batch and,
    #: when the network is updated, the discriminator.
    unused_parameters = True

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterator[Parameter]], Optimizer],
        warp: Callable[[Tensor, Draws], Tensor],
        mask_weight: float = 0.5,
        outside: float = 0.2,
        discriminator: nn.Module | None = None,
        adversarial: nn.Module | None = None,
        optimizer_d: Callable[[Iterator[Parameter]], Optimizer] | None = None,
        adversarial_weight: float = 0.01,
        clip: float | None = None,
        monitor: str = "val/psnr",
        mode: str = "max",
    ) -> None:
        super().__init__()
        if not 0 <= outside <= 1 or mask_weight < 0 or adversarial_weight < 0:
            raise ValueError(
                f"module.outside={outside}, module.mask_weight={mask_weight}, module.adversarial_weight="
                f"{adversarial_weight}: expected outside from 0 to 1, and weights of 0 or more"
            )
        known = [f"val/{name}" for name in FIGURES]
        if monitor not in known and not re.fullmatch(r"val/psnr_\d+", monitor):
            raise ValueError(f"module.monitor={monitor}: expected one of {', '.join(known)}, val/psnr_0, ...")
        if discriminator is not None and (adversarial is None or optimizer_d is None):
            raise ValueError("module.discriminator also needs module.adversarial and module.optimizer_d")
        self.automatic_optimization = False
        self.network, self.loss, self.warp, self.optimizer = network, loss, warp, optimizer
        self.mask_weight, self.outside, self.clip = mask_weight, outside, clip
        self.discriminator, self.adversarial, self.optimizer_d = discriminator, adversarial, optimizer_d
        self.adversarial_weight, self.monitor, self.mode = adversarial_weight, monitor, mode
        self._faces: Tensor | None = None  # faces of the preview; `_whose` holds their identities
        self._whose = torch.zeros(0, dtype=torch.int64)
        self._picked: list[Tensor] = []  # indices, identities and faces that may be chosen for the preview
        self._index, self._kept = list[Tensor](), list[Tensor]()

    @torch.no_grad()
    def swap(self, x: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
        """Render faces as the given people.

        Args:
            x: faces [B, 3, S, S] in [0, 1].
            identity: index of the person to render for each face [B].

        Returns:
            Images [B, 3, S, S] and masks [B, 1, S, S], both in [0, 1].
        """
        training = self.network.training
        self.network.eval()
        picture, mask = self.network(x.to(self.device), identity.to(self.device))
        self.network.train(training)
        return picture.float(), mask.float()

    def preview(self, count: int = 0, condition: Tensor | None = None) -> Tensor | None:
        """Return a row of images per held-out face: the face, its reconstruction, and the face as each other person.

        For two people A and B, the rows of A are (A, A -> A, A -> B) and those of B are (B, B -> B, B -> A).

        Returns:
            Images [N, 1 + people, 3, S, S] in [0, 1], or None before the first validation.
        """
        if self._faces is None:
            return None
        people = int(getattr(self.network, "people", int(self._whose.max()) + 1))
        columns = [self._faces]
        columns += [self.swap(self._faces, (self._whose + step) % people)[0] for step in range(people)]
        return torch.stack([column.to(self.device) for column in columns], dim=1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Update the network and, if there is one, the discriminator."""
        x, identity, mask = _parts(batch)
        found: Any = self.optimizers()
        optimizers = found if isinstance(found, list) else [found]
        last = updates_now(self, batch_idx)
        made, drawn = self.network(self.warp(x, self.random), identity)
        weight = self.outside + (1 - self.outside) * mask
        pasted = weight * made + (1 - weight) * x
        terms: dict[str, Tensor] = {}
        if self.discriminator is not None:
            given = x, pasted.detach()
            terms["loss_d"] = learn(self, optimizers[1], lambda: self._discriminate(*given), last, self.clip)

        def reconstruct() -> Tensor:
            found = self._reconstruct(x, pasted, mask, drawn)
            terms.update(found)
            return found["loss"]

        loss = learn(self, optimizers[0], reconstruct, last, self.clip)
        self.log_step(terms, ("loss", "loss_d"))
        count_batch(self)
        return loss

    def _reconstruct(self, x: Tensor, pasted: Tensor, mask: Tensor, drawn: Tensor) -> dict[str, Tensor]:
        """Compute the loss of the network, `loss`, and its terms."""
        terms: dict[str, Tensor] = {"reconstruction": self.loss(pasted, x), "mask": mse_loss(drawn.float(), mask)}
        loss = terms["reconstruction"] + self.mask_weight * terms["mask"]
        if self.discriminator is not None:
            adversarial: Any = self.adversarial
            terms["adversarial"] = adversarial.generator(self.discriminator(2 * pasted - 1))
            loss = loss + self.adversarial_weight * terms["adversarial"]
        return terms | {"loss": loss}

    def _discriminate(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the loss of the discriminator."""
        network: Any = self.discriminator
        adversarial: Any = self.adversarial
        real, fake = 2 * real - 1, 2 * fake - 1
        loss: Tensor = adversarial.discriminator(network(real), network(fake))
        penalty: Tensor = adversarial.penalty(network, real, fake, self.random)
        return loss + penalty

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the reconstruction metrics of held-out faces, and some faces of each person for the preview."""
        x, identity, mask = _parts(batch)
        self._keep(x, identity, mask, batch["index"])
        if self._faces is None:
            found = [batch["index"], identity, x]
            if self._picked:
                found = [torch.cat(parts) for parts in zip(self._picked, found, strict=True)]
            kept = spread(found[0], found[1], SHOWN)
            self._picked = [part[kept] for part in found]

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the reconstruction metrics of the test split."""
        x, identity, mask = _parts(batch)
        self._keep(x, identity, mask, batch["index"])

    def _keep(self, x: Tensor, identity: Tensor, mask: Tensor, index: Tensor) -> None:
        made, drawn = self.network(x, identity)
        made = made.float()
        here, there = drawn > 0.5, mask > 0.5
        overlap = (here & there).sum((1, 2, 3)) / (here | there).sum((1, 2, 3)).clamp(min=1)
        whole = generation.psnr(made, x), generation.ssim(made, x)
        figures = [identity, *inside(made, x, mask), *whole, overlap]
        self._index.append(index)
        self._kept.append(torch.stack([figure.double() for figure in figures], dim=1))

    def on_validation_epoch_end(self) -> None:
        """Render the preview and log the metrics."""
        if self._faces is None:
            index, identity, faces = self.gather(*self._picked)
            kept = spread(index, identity, SHOWN)
            self._faces, self._whose = faces[kept].cpu(), identity[kept].cpu()
            self._picked = []
        self.shown = self.preview()
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics."""
        self._finish("test")

    def _finish(self, split: str) -> None:
        gathered = self.gather(torch.cat(self._index), torch.cat(self._kept))[1]
        identity, *rows = gathered.unbind(1)
        self._index.clear()
        self._kept.clear()
        named = dict(zip(FIGURES, rows, strict=True))
        figures = {name: float(values.mean()) for name, values in named.items()}
        for person in sorted(set(identity.tolist())):  # one person may be learnt well and another badly
            figures[f"psnr_{int(person)}"] = float(named["psnr"][identity == person].mean())
        self.record(split, Results(figures))

    def configure_optimizers(self) -> list[Optimizer]:
        """Build the optimizers of the network and, if there is one, the discriminator."""
        optimizers = [self.optimizer(self.network.parameters())]
        if self.discriminator is not None and self.optimizer_d is not None:
            optimizers.append(self.optimizer_d(self.discriminator.parameters()))
        return optimizers


def spread(index: Tensor, identity: Tensor, most: int) -> Tensor:
    """Return the rows of at most `most` faces per person, ordered by person and index.

    The faces are spread over the range of the indices. Choosing from parts of the faces, and then among those chosen,
    gives the same result as choosing from all faces.

    Args:
        index: index of each face [N].
        identity: person of each face [N].
        most: maximum number of faces per person.
    """
    key = index.double() * GOLDEN % 1
    rows = []
    for person in sorted(set(identity.tolist())):
        own = torch.nonzero(identity == person).flatten()
        own = own[key[own].argsort()[:most]]
        rows.append(own[index[own].argsort()])
    return torch.cat(rows)


def inside(made: Tensor, original: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Compute PSNR in dB [B] and SSIM [B] (doi 10.1109/TIP.2003.819861) of each image inside its mask.

    The PSNR has the same upper bound as the PSNR of whole images (`generation.decibel`).

    Args:
        made: reconstructed faces [B, 3, S, S] in [0, 1].
        original: original faces [B, 3, S, S] in [0, 1].
        mask: weights [B, 1, S, S] in [0, 1].
    """
    area = mask.sum((1, 2, 3)).clamp(min=1)
    error = (mask * (made - original).square()).sum((1, 2, 3)) / (3 * area)
    found = structural_similarity_index_measure(made, original, data_range=1.0, return_full_image=True)[1]
    return generation.decibel(error), (mask * found).sum((1, 2, 3)) / (3 * area)


def _parts(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the faces, their identities and their masks."""
    if "identity" not in batch or "mask" not in batch:
        raise ValueError("a face swapper needs identities and masks of faces: set data=people (or data=demo_people)")
    return batch["x"], batch["identity"], batch["mask"].float()
