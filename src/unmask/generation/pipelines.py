"""Published pipelines that make pictures from text, run with diffusers from a local folder."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.generation.inpainters import DTYPES


class PipelineError(ValueError):
    """A pipeline cannot run; the message says why and how to fix it."""


class TextPipeline:
    """A published text-to-image pipeline, such as Stable Diffusion (arXiv 2112.10752).

    Args:
        model: a folder with `model_index.json`, or a name on the Hugging Face hub.
        method: name of this method in manifests.
        size: side of the pictures, px; a multiple of 8.
        steps: number of denoising steps.
        guidance: scale of classifier-free guidance; 1 disables it.
        dtype: `float16`, `bfloat16`, `float32`, or `auto`: float32 on a CPU, float16 otherwise.
        device: `cpu`, `cuda`, `mps`, or `auto`.
        download: whether to download a model that is not on disk.
    """

    MULTIPLE = 8  # px: the autoencoder needs sides that are multiples of this

    def __init__(
        self,
        model: str,
        method: str = "sd",
        size: int = 512,
        steps: int = 50,
        guidance: float = 7.5,
        dtype: str = "auto",
        device: str = "auto",
        download: bool = False,
    ) -> None:
        if dtype not in ("auto", *DTYPES):
            raise PipelineError(f"generator.dtype={dtype}: expected auto, float16, bfloat16 or float32")
        if size < self.MULTIPLE or size % self.MULTIPLE:
            raise PipelineError(f"generator.size={size}: expected a multiple of {self.MULTIPLE} px")
        self.model, self.method, self.size, self.steps, self.guidance = model, method, size, steps, guidance
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.dtype = ("float32" if self.device == "cpu" else "float16") if dtype == "auto" else dtype
        self.download = download
        self._pipeline: Any = None

    def __call__(self, prompt: str, seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Make one picture per seed [N, size, size, 3]; each depends only on its seed.

        Raises:
            PipelineError: the model is missing, or its content filter blackened a picture.
        """
        self._pipeline = self._pipeline or self._load()
        # The noise is drawn on the CPU, so that it is the same for all devices.
        result = self._pipeline(
            prompt=[prompt] * len(seeds),
            height=self.size,
            width=self.size,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=[torch.Generator().manual_seed(int(seed)) for seed in seeds],
            output_type="np",
        )
        flags = result.get("nsfw_content_detected")
        if flags is not None and any(flags):
            raise PipelineError(
                f"the content filter of {self.model} blackened a picture; choose another prompt or seed"
            )
        made: NDArray[np.uint8] = np.rint(np.asarray(result["images"]) * 255).clip(0, 255).astype(np.uint8)
        return made

    def _load(self) -> Any:
        try:
            diffusers = import_module("diffusers.pipelines.auto_pipeline")
        except ImportError as error:
            raise PipelineError(f"diffusers is not installed ({error}): pip install 'unmask[diffusion]'") from error
        try:
            pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(
                self.model, local_files_only=not self.download, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            there = (
                "is not the folder of a text-to-image pipeline" if Path(self.model).exists() else "is not on this disk"
            )
            raise PipelineError(
                f"generator.model={self.model} {there} ({why}); copy a folder with model_index.json, unet/, vae/, "
                "text_encoder/, tokenizer/ and scheduler/, or set generator.download=true"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self.device, DTYPES[self.dtype])
