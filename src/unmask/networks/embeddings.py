"""Embeddings of attributes (0 or 1, [B, A]), on which a generator and its discriminator are conditioned."""

import torch
from torch import Tensor, nn

MOST = 12  # maximum number of attributes; with more, most of their combinations would never occur in training


class AttributeEmbedding(nn.Linear):
    """Embed attributes linearly: add the learned vectors of all attributes that are present.

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

    places: Tensor  #: value of each attribute's bit in the class number [A]: 1, 2, 4, ...

    def __init__(self, attributes: int, features: int) -> None:
        if attributes > MOST:
            raise ValueError(
                f"data.loader.attributes: {attributes} attributes make 2^{attributes} classes; choose at most {MOST} "
                "attributes, or use the option attributes instead of classes in module/embed"
            )
        super().__init__(2**attributes, features)
        self.register_buffer("places", 2 ** torch.arange(attributes), persistent=False)

    def forward(self, attributes: Tensor) -> Tensor:
        """Return the class embeddings [B, features] for attributes [B, A]; an attribute above 0.5 is present."""
        vectors: Tensor = super().forward(((attributes > 0.5) * self.places).sum(1))
        return vectors
