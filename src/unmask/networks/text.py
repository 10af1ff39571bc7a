"""Text encoders, which map captions to one vector per word or token."""

import re
import zlib
from typing import cast

import torch
from torch import Tensor, nn

from unmask.networks.frozen import Frozen

WORD = re.compile(r"[^\W_]+")


class WordEncoder(nn.Module):
    """A small transformer that is trained from scratch on captions. Words are numbered by a hash, without a vocabulary.

    Args:
        width: length of the vectors, a multiple of `heads`.
        words: maximum number of words of a caption; further words are ignored.
        layers: number of transformer layers.
        heads: number of attention heads.
        buckets: number of different word vectors; words with the same hash share a vector.
    """

    def __init__(self, width: int = 128, words: int = 32, layers: int = 2, heads: int = 4, buckets: int = 4096) -> None:
        super().__init__()
        if min(width, words, layers, heads) < 1 or buckets < 2 or width % heads:
            raise ValueError(
                f"width={width}, words={words}, layers={layers}, heads={heads}, buckets={buckets}: expected 1 or more, "
                "at least 2 buckets, and a width that is a multiple of heads"
            )
        self.width, self.words, self.buckets = width, words, buckets
        self.embed = nn.Embedding(buckets, width)
        self.place = nn.Parameter(0.02 * torch.randn(words, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, caption: Tensor) -> Tensor:
        """Return vectors [B, words, width], float32, of captions, UTF-8 bytes padded with zeros [B, N]."""
        numbers = torch.zeros(len(caption), self.words, dtype=torch.int64)
        for row, text in zip(numbers, texts_of(caption), strict=True):
            found = [1 + zlib.crc32(word.encode()) % (self.buckets - 1) for word in WORD.findall(text.lower())]
            row[: len(found)] = torch.tensor(found[: self.words], dtype=torch.int64)
        device = self.place.device
        with torch.autocast(device.type, enabled=False):  # see text_denoiser.Attention
            vectors: Tensor = self.layers(self.embed(numbers.to(device)) + self.place)
        return vectors


class CLIPText(nn.Module):
    """The frozen text encoder of CLIP (arXiv 2103.00020), run with transformers. It is not stored in checkpoints.

    Args:
        model: a folder with the tokenizer and the text encoder, or a name on the Hugging Face hub.
        width: length of the vectors; 768 for `openai/clip-vit-large-patch14`.
        download: whether to download a model that is not on disk.
    """

    def __init__(self, model: str, width: int = 768, download: bool = False) -> None:
        super().__init__()
        self.model, self.width, self.download = model, width, download
        self._network = Frozen(self._load)

    @torch.no_grad()
    def forward(self, caption: Tensor) -> Tensor:
        """Return vectors [B, tokens, width] of captions, UTF-8 bytes padded with zeros [B, N]."""
        from transformers import CLIPTokenizer

        network = self._network.on(caption.device)
        tokenizer = CLIPTokenizer.from_pretrained(self.model, local_files_only=not self.download)
        tokens = tokenizer(
            texts_of(caption),
            padding="max_length",
            truncation=True,
            max_length=self._places(network),
            return_tensors="pt",
        )
        vectors: Tensor = network(tokens["input_ids"].to(caption.device)).last_hidden_state
        return vectors

    @staticmethod
    def _places(network: nn.Module) -> int:
        """Return the number of tokens that the text encoder takes."""
        return cast(nn.Embedding, network.get_submodule("text_model.embeddings.position_embedding")).num_embeddings

    def _load(self) -> nn.Module:
        from transformers import CLIPTextModel

        try:
            found: nn.Module = CLIPTextModel.from_pretrained(
                self.model, local_files_only=not self.download, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"module.denoiser.text.model={self.model}: expected a folder with the text encoder of CLIP, or "
                f"module.denoiser.text.download=true ({str(error).splitlines()[0]})"
            ) from error
        return found


def texts_of(caption: Tensor) -> list[str]:
    """Return the texts of captions, UTF-8 bytes padded with zeros [B, N]."""
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in caption.to("cpu", torch.uint8).numpy()]
