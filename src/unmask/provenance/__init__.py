"""Provenance of media: machine-readable metadata, an imperceptible watermark and a visible label."""

from unmask.provenance.marking import Marking, inspect, visible_label
from unmask.provenance.marks import (
    ALTERED,
    GENERATED,
    RENDERED,
    SYNTHETIC,
    TERMS,
    TRAINED,
    UNSPECIFIED,
    encode_png,
    read_marks,
    source_marks,
    write_picture,
)
from unmask.provenance.watermark import PAYLOAD

__all__ = [
    "ALTERED",
    "GENERATED",
    "PAYLOAD",
    "RENDERED",
    "SYNTHETIC",
    "TERMS",
    "TRAINED",
    "UNSPECIFIED",
    "Marking",
    "encode_png",
    "inspect",
    "read_marks",
    "source_marks",
    "visible_label",
    "write_picture",
]
