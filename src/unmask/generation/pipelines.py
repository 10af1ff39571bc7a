"""Published pipelines that make pictures from text, run with diffusers from a local folder."""

from collections.abc import Sequence

from unmask.generation.published import PipelineError, Pixels, Published


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
        if size < Published.MULTIPLE or size % Published.MULTIPLE:
            raise PipelineError(f"generator.size={size}: expected a multiple of {Published.MULTIPLE} px")
        self.pipeline = Published("text-to-image", "sample", model, dtype, device, download)
        self.method, self.size, self.steps, self.guidance = method, size, steps, guidance

    def __call__(self, prompt: str, seeds: Sequence[int]) -> Pixels:
        """Make one picture per seed [N, size, size, 3]; each depends only on its seed.

        Raises:
            PipelineError: the model is missing, or its content filter blackened a picture.
        """
        return self.pipeline(
            seeds,
            prompt=[prompt] * len(seeds),
            height=self.size,
            width=self.size,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
        )
