"""Inpainters, which repaint images where a mask is white.

All inpainters have the same interface: `inpainter(pictures uint8 [N, H, W, 3], masks uint8 [N, H, W], seeds int64 [N])`
-> uint8 [N, H, W, 3]. Images are RGB; pixels whose mask is white (255) are repainted. A result depends only on its own
image, mask and seed, not on the rest of the batch. The attribute `method` is the inpainter's method name in manifests.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
PROMPT = "Generate a painting compatible with the rest of the image."


class InpainterError(ValueError):
    """An inpainter cannot run; the message says why and how to fix it."""


class Inpainter(Protocol):
    """Interface of inpainters. `trained` is true for a trained model; the marks in the outputs depend on it."""

    method: str
    trained: ClassVar[bool]

    def __call__(self, pictures: Pixels, masks: Pixels, seeds: NDArray[np.int64]) -> Pixels:
        """Repaint images [N, H, W, 3] where the masks [N, H, W] are white."""


class Pipeline(Protocol):
    """A pipeline of the library diffusers."""

    def __call__(self, **inputs: object) -> Mapping[str, NDArray[np.generic]]:
        """Return a dict with `images`, float32 [N, H, W, 3] in [0, 1], and the flags of a content filter, if any."""


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
            raise InpainterError(f"generator.method={method}: expected {' or '.join(self.FLAGS)}")
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
    MULTIPLE: ClassVar[int] = 8  # px: the autoencoder needs sides that are multiples of this

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
        if dtype not in ("auto", *DTYPES):
            raise InpainterError(f"generator.dtype={dtype}: expected auto, float16, bfloat16 or float32")
        self.model, self.method, self.prompt = model, method, prompt
        self.steps, self.guidance, self.download = steps, guidance, download
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.dtype = ("float32" if self.device == "cpu" else "float16") if dtype == "auto" else dtype
        self._pipeline: Pipeline | None = None

    def __call__(self, pictures: Pixels, masks: Pixels, seeds: NDArray[np.int64]) -> Pixels:
        """Repaint images [N, H, W, 3] where the masks [N, H, W] are white; H and W must be multiples of 8 px.

        Raises:
            InpainterError: the model is missing, a side is not a multiple of 8 px, or the model's content filter
                blackened an image.
        """
        height, width = pictures.shape[1:3]
        if height % self.MULTIPLE or width % self.MULTIPLE:
            raise InpainterError(
                f"{self.model}: expected sides that are multiples of {self.MULTIPLE} px, got {height}x{width} px"
            )
        self._pipeline = self._pipeline or self._load()
        # The noise is drawn on the CPU, so that it is the same for all devices.
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        result = self._pipeline(
            prompt=[self.prompt] * len(pictures),
            image=torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255,
            mask_image=torch.from_numpy(masks)[:, None] / 255,
            height=height,
            width=width,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=generators,
            output_type="np",
        )
        blackened = result.get("nsfw_content_detected")
        if blackened is not None and any(blackened):
            raise InpainterError(f"the content filter of {self.model} blackened a picture; choose a model without it")
        painted: Pixels = np.rint(np.asarray(result["images"]) * 255).clip(0, 255).astype(np.uint8)
        return painted

    def _load(self) -> Pipeline:
        try:
            diffusers = import_module("diffusers.pipelines.auto_pipeline")
        except ImportError as error:
            raise InpainterError(f"diffusers is not installed ({error}): pip install 'unmask[diffusion]'") from error
        try:
            pipeline = diffusers.AutoPipelineForInpainting.from_pretrained(
                self.model, local_files_only=not self.download
            )
        except (OSError, ValueError) as error:
            raise InpainterError(self._missing(str(error).strip().splitlines()[0])) from error
        pipeline.set_progress_bar_config(disable=True)
        loaded: Pipeline = pipeline.to(self.device, DTYPES[self.dtype])
        return loaded

    def _missing(self, why: str) -> str:
        """Return an error message that says what is missing, and how to get it."""
        if Path(self.model).exists():
            return f"generator.model={self.model} is not the folder of a diffusers pipeline for inpainting ({why})"
        return (
            f"generator.model={self.model} is not on this disk ({why})\n"
            f"Either download it once from https://huggingface.co/{self.model} (about 5 GB):\n"
            f"  unmask inpaint generator.download=true ...\n"
            f"or copy its folder (model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/) from another "
            f"machine:\n  unmask inpaint generator.model=FOLDER ..."
        )
