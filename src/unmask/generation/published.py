"""Published pipelines of diffusers: how they are loaded, where they run, and what they return."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.config import Settings

Pixels = NDArray[np.uint8]
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
NO_PIXELS = ("device", "download")  # settings that do not affect the pixels
KINDS = {"inpainting": "AutoPipelineForInpainting", "text-to-image": "AutoPipelineForText2Image"}  # kind -> class


class PipelineError(ValueError):
    """A pipeline cannot run; the message says why and how to fix it."""


def of_pixels(settings: Settings) -> Settings:
    """Return the settings of a pipeline or an inpainter that affect the pixels, to be recorded beside the pictures."""
    return {key: value for key, value in settings.items() if key not in NO_PIXELS}


class Pipeline(Protocol):
    """A pipeline of the library diffusers."""

    def __call__(self, **inputs: object) -> Mapping[str, NDArray[np.generic]]:
        """Return a dict with `images`, float32 [N, H, W, 3] in [0, 1], and the flags of a content filter, if any."""


class Published:
    """A published pipeline, which is loaded when it is first called.

    Args:
        kind: one of `KINDS`.
        verb: the command that uses it, for messages.
        model: a folder with `model_index.json`, or a name on the Hugging Face hub.
        dtype: `float16`, `bfloat16`, `float32`, or `auto`: float32 on a CPU, float16 otherwise.
        device: `cpu`, `cuda`, `mps`, or `auto`.
        download: whether to download a model that is not on disk.

    Raises:
        PipelineError: `dtype` is unknown.
    """

    MULTIPLE: ClassVar[int] = 8  # px: the autoencoder needs sides that are multiples of this

    def __init__(self, kind: str, verb: str, model: str, dtype: str, device: str, download: bool) -> None:
        if dtype not in ("auto", *DTYPES):
            raise PipelineError(f"generator.dtype={dtype}: expected auto, float16, bfloat16 or float32")
        self.kind, self.verb, self.model, self.download = kind, verb, model, download
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.dtype = ("float32" if self.device == "cpu" else "float16") if dtype == "auto" else dtype
        self._pipeline: Pipeline | None = None

    def __call__(self, seeds: Sequence[int], **inputs: object) -> Pixels:
        """Make one picture per seed [N, H, W, 3]; each depends only on its seed and its inputs.

        Raises:
            PipelineError: the model is missing, or its content filter blackened a picture.
        """
        self._pipeline = self._pipeline or self._load()
        # The noise is drawn on the CPU, so that it is the same for all devices.
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        result = self._pipeline(generator=generators, output_type="np", **inputs)
        blackened = result.get("nsfw_content_detected")
        if blackened is not None and any(blackened):
            raise PipelineError(
                f"the content filter of {self.model} blackened a picture; choose another seed or prompt, or a model "
                "without a filter"
            )
        made: Pixels = np.rint(np.asarray(result["images"]) * 255).clip(0, 255).astype(np.uint8)
        return made

    def _load(self) -> Pipeline:
        try:
            diffusers = import_module("diffusers.pipelines.auto_pipeline")
        except ImportError as error:
            raise PipelineError(f"diffusers is not installed ({error}): pip install 'unmask[diffusion]'") from error
        try:
            # Only safetensors: other weights are pickles, which can run code.
            pipeline = getattr(diffusers, KINDS[self.kind]).from_pretrained(
                self.model, local_files_only=not self.download, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise PipelineError(self._missing(str(error).strip().splitlines()[0])) from error
        pipeline.set_progress_bar_config(disable=True)
        loaded: Pipeline = pipeline.to(self.device, DTYPES[self.dtype])
        return loaded

    def _missing(self, why: str) -> str:
        """Return an error message that says what is missing, and how to get it."""
        if Path(self.model).exists():
            return (
                f"generator.model={self.model} is not the folder of a diffusers pipeline for {self.kind} with weights "
                f"in safetensors ({why})"
            )
        return (
            f"generator.model={self.model} is not on this disk ({why})\n"
            f"Either download it once from https://huggingface.co/{self.model} (about 5 GB):\n"
            f"  unmask {self.verb} generator.download=true ...\n"
            f"or copy its folder (model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/) from another "
            f"machine:\n  unmask {self.verb} generator.model=FOLDER ..."
        )
