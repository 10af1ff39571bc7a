"""Inpainters, which repaint images where a mask is white.

All inpainters have the same interface: `inpainter(pictures uint8 [N, H, W, 3], masks uint8 [N, H, W], seeds int64 [N])`
-> uint8 [N, H, W, 3]. Images are RGB; pixels whose mask is white (255) are repainted. A result depends only on its own
image, mask and seed, not on the rest of the batch. The attribute `method` is the inpainter's method name in manifests.
"""

from typing import ClassVar, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from unmask.generation.published import PipelineError, Pixels, Published

PROMPT = "Generate a painting compatible with the rest of the image."


class Inpainter(Protocol):
    """Interface of inpainters. `trained` is true for a trained model; the marks in the outputs depend on it."""

    method: str
    trained: ClassVar[bool]

    def __call__(self, pictures: Pixels, masks: Pixels, seeds: NDArray[np.int64]) -> Pixels:
        """Repaint images [N, H, W, 3] where the masks [N, H, W] are white."""


class ClassicalInpainter:
    """OpenCV's inpainting, which fills a mask from its edges inwards. It uses no trained model and no randomness.

    Args:
        method: `telea` (fast marching) or `navier_stokes` (fluid dynamics).
        radius: radius in px of the neighbourhood from which a pixel is computed.
    """

    trained: ClassVar[bool] = False
    FLAGS: ClassVar[dict[str, int]] = {"telea": cv2.INPAINT_TELEA, "navier_stokes": cv2.INPAINT_NS}

    def __init__(self, method: str = "telea", radius: float = 3.0) -> None:
        if method not in self.FLAGS:
            raise PipelineError(f"generator.method={method}: expected {' or '.join(self.FLAGS)}")
        self.method, self.radius = method, radius

    def __call__(self, pictures: Pixels, masks: Pixels, seeds: NDArray[np.int64]) -> Pixels:
        """Repaint images [N, H, W, 3] where the masks [N, H, W] are white; seeds have no effect."""
        flag = self.FLAGS[self.method]
        done = [cv2.inpaint(picture, mask, self.radius, flag) for picture, mask in zip(pictures, masks, strict=True)]
        return np.stack(done).astype(np.uint8)


class DiffusionInpainter:
    """A latent diffusion model for inpainting, such as Stable Diffusion 2 (arXiv:2112.10752), run with diffusers.

    Args:
        model: a name on the Hugging Face hub, or a folder with `model_index.json`.
        method: name of this forgery method in manifests.
        prompt: text prompt.
        steps: number of denoising steps.
        guidance: scale of classifier-free guidance; 1 disables it.
        dtype: `float16`, `bfloat16`, `float32`, or `auto`: float32 on a CPU, float16 otherwise.
        device: `cpu`, `cuda`, `mps`, or `auto`.
        download: whether to download a model that is not on disk.
    """

    trained: ClassVar[bool] = True

    def __init__(
        self,
        model: str,
        method: str = "diffusion",
        prompt: str = PROMPT,
        steps: int = 50,
        guidance: float = 7.5,
        dtype: str = "auto",
        device: str = "auto",
        download: bool = False,
    ) -> None:
        self.pipeline = Published("inpainting", "inpaint", model, dtype, device, download)
        self.method, self.prompt, self.steps, self.guidance = method, prompt, steps, guidance

    def __call__(self, pictures: Pixels, masks: Pixels, seeds: NDArray[np.int64]) -> Pixels:
        """Repaint images [N, H, W, 3] where the masks [N, H, W] are white; H and W must be multiples of 8 px.

        Raises:
            PipelineError: the model is missing, a side is not a multiple of 8 px, or the model's content filter
                blackened an image.
        """
        height, width = pictures.shape[1:3]
        if height % Published.MULTIPLE or width % Published.MULTIPLE:
            raise PipelineError(
                f"{self.pipeline.model}: expected sides that are multiples of {Published.MULTIPLE} px, got "
                f"{height}x{width} px"
            )
        return self.pipeline(
            seeds.tolist(),
            prompt=[self.prompt] * len(pictures),
            image=torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255,
            mask_image=torch.from_numpy(masks)[:, None] / 255,
            height=height,
            width=width,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
        )
