"""Captions of pictures, which are made from the rows of the manifest: from attributes, a column, or the folder.

A batch contains captions as UTF-8 bytes, padded with zeros; the text encoder splits them into words. During training, a
new wording is drawn in every epoch. Evaluation uses wordings that do not occur in training.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from unmask.data.manifest import ATTRIBUTE

T = TypeVar("T")
LENGTH = 256  # maximum length of a caption, bytes
Row = Mapping[str, object]  # of the manifest: column -> value

# Wordings of each attribute, for yes and no, as (place, text); the place is `before` or `after` the noun. In training,
# all phrases are used with smile and with glasses: a text encoder would otherwise take a phrase for one of the two. The
# phrase "who has" is only used with hair, so "who has no glasses" must be understood from its words.
Wording = tuple[str, str]
WITH = ("with {}", "wearing {}", "who wears {}", "who is wearing {}")
WITHOUT = ("without {}", "with no {}", "wearing no {}", "who wears no {}", "who is not wearing {}")


def _after(phrases: Sequence[str], thing: str) -> list[Wording]:
    return [("after", phrase.format(thing.removeprefix("a ") if " no " in phrase else thing)) for phrase in phrases]


TRAINED: dict[str, tuple[list[Wording], list[Wording]]] = {
    "Smiling": (
        [("before", "smiling"), ("after", "who is smiling"), *_after(WITH, "a smile")],
        [("before", "serious"), ("after", "who is not smiling"), *_after(WITHOUT, "a smile")],
    ),
    "Eyeglasses": (_after(WITH, "glasses"), _after(WITHOUT, "glasses")),
    "Bald": ([("before", "bald"), *_after(("without {}", "with no {}", "who has no {}"), "hair")], []),
}
TESTED: dict[str, tuple[list[Wording], list[Wording]]] = {
    "Smiling": (_after(["who has {}"], "a smile"), _after(["who has no {}"], "a smile")),
    "Eyeglasses": (_after(["who has {}"], "glasses"), _after(["who has no {}"], "glasses")),
    "Bald": ([("after", "who is bald")], []),
}
COLOURS = {"Black_Hair": "black", "Blond_Hair": "blond", "Brown_Hair": "brown", "Gray_Hair": "gray"}
HAIR = (
    [("after", "with {} hair"), ("after", "who has {} hair"), ("after", "whose hair is {}"), ("before", "{} haired")],
    [("after", "with hair that is {}")],
)
FRAMES = (["{}", "a photo of {}", "a portrait of {}", "a portrait that shows {}"], ["a photo that shows {}"])


class Captions(Protocol):
    """Rules that make captions."""

    def columns(self) -> list[str]:
        """Return the columns of the manifest that are needed."""

    def __call__(self, row: Row, rng: np.random.Generator | None) -> str:
        """Return the caption of a picture.

        Args:
            row: the picture's row of the manifest.
            rng: draws the wording in training; None in evaluation.
        """


class FaceCaptions:
    """Write captions of faces from CelebA's attributes: smile, glasses, hair and, if `sex` is true, man or woman.

    Args:
        sex: whether to use the attribute `Male`; false writes "person", for data that lack this attribute.
        mention: probability that an attribute is mentioned in training; in evaluation, all are.
    """

    def __init__(self, sex: bool = True, mention: float = 0.9) -> None:
        if not 0 < mention <= 1:
            raise ValueError(f"data.loader.captions.mention={mention}: expected a probability above 0, up to 1")
        self.sex, self.mention = sex, mention

    def columns(self) -> list[str]:
        """Return the columns of the attributes."""
        names = [*TRAINED, *COLOURS, *(["Male"] if self.sex else [])]
        return ["path", *(ATTRIBUTE + name for name in names)]

    def __call__(self, row: Row, rng: np.random.Generator | None) -> str:
        """Return the caption of a face; see `Captions`."""
        choose = np.random.default_rng(_number(row)) if rng is None else rng
        has = {name.removeprefix(ATTRIBUTE): row[name] == 1 for name in self.columns()}
        wordings = TESTED if rng is None else TRAINED
        told = [options[not has[name]] for name, options in wordings.items()]
        colour = next((word for name, word in COLOURS.items() if has[name]), None)
        if colour is not None:
            told.append([(place, text.format(colour)) for place, text in HAIR[rng is None]])
        said = [
            _one(options, choose) for options in told if options and (rng is None or choose.random() < self.mention)
        ]
        said = [said[at] for at in choose.permutation(len(said))]
        noun = ("man" if has["Male"] else "woman") if self.sex else "person"
        before = [text for place, text in said if place == "before"]
        after = [text for place, text in said if place == "after"]
        who = " ".join(["a", *before, noun, " and ".join(after)]).strip()
        return _one(FRAMES[rng is None], choose).format(who)


class ColumnCaptions:
    """Use the text in a column of the manifest.

    Args:
        column: name of an attribute with text.
    """

    def __init__(self, column: str) -> None:
        self.column = column

    def columns(self) -> list[str]:
        """Return the column."""
        return [ATTRIBUTE + self.column]

    def __call__(self, row: Row, rng: np.random.Generator | None) -> str:
        """Return the text in the column."""
        return str(row[ATTRIBUTE + self.column])


class FolderCaptions:
    """Write captions from the folder of a picture, such as `a painting, van gogh` for `van_gogh/12.jpg`.

    Args:
        wordings: captions of training; `{}` stands for the folder.
        tested: captions of evaluation.
    """

    def __init__(
        self,
        wordings: Sequence[str] = ("{}", "a painting, {}", "a painting of the kind {}"),
        tested: Sequence[str] = ("a {} painting",),
    ) -> None:
        if not wordings or not tested or not all("{}" in text for text in (*wordings, *tested)):
            raise ValueError("data.loader.captions: expected wordings and tested with {} for the name of the folder")
        self.wordings, self.tested = list(wordings), list(tested)

    def columns(self) -> list[str]:
        """Return the column of paths."""
        return ["path"]

    def __call__(self, row: Row, rng: np.random.Generator | None) -> str:
        """Return the caption of a picture; see `Captions`."""
        folder = PurePosixPath(str(row["path"])).parent.name.replace("_", " ").replace("-", " ")
        if rng is None:
            return _one(self.tested, np.random.default_rng(_number(row))).format(folder)
        return _one(self.wordings, rng).format(folder)


def as_bytes(texts: Sequence[str], length: int = LENGTH) -> NDArray[np.uint8]:
    """Return the UTF-8 bytes of texts [N, length], padded with zeros.

    Raises:
        ValueError: a text is too long.
    """
    found = np.zeros((len(texts), length), np.uint8)
    for row, text in zip(found, texts, strict=True):
        raw = text.encode()
        if len(raw) > length:
            raise ValueError(f"'{text[:60]}...' has {len(raw)} bytes; expected a caption of at most {length}")
        row[: len(raw)] = list(raw)
    return found


def _one(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def _number(row: Row) -> int:
    """Return a number that depends only on the picture."""
    return sum(str(row["path"]).encode())
