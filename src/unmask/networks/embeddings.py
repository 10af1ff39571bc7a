"""Embeddings of the attributes [B, A], each 0 or 1, on which a generator and its discriminator are conditioned."""

import torch
from torch import Tensor, nn

MOST = 12  # attributes; a table with a row for each combination of more would have many rows that are never trained


class AttributeEmbedding(nn.Linear):
    """Embed attributes linearly: one vector per attribute, and the sum of those that are present.

    Args:
        attributes: number of attributes, A.
        features: length of the embedding.
    """

    def __init__(self, attributes: int, features: int) -> None:
        super().__init__(attributes, features, bias=False)


class ClassEmbedding(nn.Embedding):
    """Embed the class of an image: one vector for each combination of attributes (conditional GAN, arXiv 1411.1784).

    One attribute makes two classes, and A attributes make 2^A. The first attribute is the lowest bit of the class
    number.

    Args:
        attributes: number of attributes, A.
        features: length of the embedding.

    Raises:
        ValueError: there are too many attributes.
    """

    places: Tensor  #: 1, 2, 4, ... [A]

    def __init__(self, attributes: int, features: int) -> None:
        if attributes > MOST:
            raise ValueError(
                f"data.loader.attributes: {attributes} attributes make 2^{attributes} classes; expected at most {MOST} "
                "attributes, or the option attributes of module/embed"
            )
        super().__init__(2**attributes, features)
        self.register_buffer("places", 2 ** torch.arange(attributes), persistent=False)

    def forward(self, attributes: Tensor) -> Tensor:
        """Return the embeddings [B, features] of the classes of attributes [B, A]; above 0.5 means present."""
        vectors: Tensor = super().forward(((attributes > 0.5) * self.places).sum(1))
        return vectors
