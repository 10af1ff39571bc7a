"""Values of a config against the annotations of constructors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from unmask.config.annotations import expected, fits, misfits
from unmask.perturb.pictures import JpegLevel

FITTING = [
    (1, int),
    (1, float),
    (1.5, float),
    (True, bool),
    ("a", str),
    ("a", Path),
    (None, int | None),
    (None, None),
    ([1, 2], list[int]),
    ([1, "a"], tuple[int, str]),
    ([], tuple[str, ...]),
    ({"a": 1}, dict[str, int]),
    ("max", Literal["max", "min"]),
    (3, Literal["max"] | int),
    ({"_target_": "x"}, nn.Module),
    ("x", Any),
    (2, nn.Module),
    ({"quality": 95, "subsampling": "4:2:0"}, JpegLevel),
    ({"a": 1}, Any),
    ({"a": 1}, object),
]
WRONG = [
    (1.0, int, "a whole number"),
    (True, int, "a whole number"),
    ("1", int, "a whole number"),
    (True, float, "a number"),
    (1, bool, "true or false"),
    (1, str, "text"),
    (None, int, "a whole number"),
    (1.5, int | None, "a whole number or null"),
    (["a"], list[int], "a list"),
    (1, list[int], "a list"),
    ([1], dict[str, int], "a mapping"),
    (1, Path, "a path"),
    ("mid", Literal["max", "min"], "one of max, min"),
    ({"_target_": "x"}, int, "a whole number"),
    ({"weight": 1}, nn.Module | None, "Module or null"),
    ({"lr": 1}, Callable[[int], int], "Callable"),
    ([1], JpegLevel, "JpegLevel"),
    ("x", Literal[16] | Literal["bf16"] | None, "one of 16, bf16 or null"),
]


@pytest.mark.parametrize(("value", "annotation"), FITTING, ids=str)
def test_what_fits(value, annotation):
    assert fits(value, annotation)


@pytest.mark.parametrize(("value", "annotation", "words"), WRONG, ids=str)
def test_what_does_not_fit_and_what_is_expected(value, annotation, words):
    assert not fits(value, annotation)
    assert expected(annotation) == words


def test_misfits_are_named_by_their_place():
    node = {
        "data": {
            "sampling": {"_target_": "unmask.data.dataset.Sampling", "stride": 1.5, "frames": None},
            "split": {"_target_": "unmask.data.split.Split", "allow_duplicates": "yes", "_partial_": True},
        },
        "others": [{"_target_": "unmask.data.loader.Loader", "batch_size": "two", "image_size": 8}],
    }
    assert list(misfits(node)) == [
        ("data.sampling.stride", "1.5: expected a whole number"),
        ("data.split.allow_duplicates", "yes: expected true or false"),
        ("others.0.batch_size", "two: expected a whole number"),
    ]
