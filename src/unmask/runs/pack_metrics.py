"""Check the metrics.json of a pack, which may come from a stranger."""

import json
import math
import unicodedata
from collections.abc import Iterator
from datetime import datetime

from unmask.config import Settings
from unmask.metrics.calibrate import CALIBRATIONS

KINDS = ("detector", "segmenter", "generator")  # a face swapper is never published, see `publishing.private`
TEXTS = ("monitor", "command", "finished")
JOINERS = "\u200c\u200d"  # needed to write some languages, and without effect on a terminal


def check_metrics(content: bytes) -> None:
    """Check that a metrics.json contains what a run needs, without values that could mislead a reader.

    Raises:
        ValueError: a value is missing or has another type; the message names the key.
    """
    try:
        found = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not strict JSON ({str(error)[:80]})") from None
    if not isinstance(found, dict) or found.get("kind") not in KINDS:
        raise ValueError(f"expected an object whose kind is one of {', '.join(KINDS)}")
    for text in _texts(found):
        if (sign := control_character(text)) is not None:
            raise ValueError(f"it contains the control character {sign}, which can change what a terminal shows")
    if wrong := [key for key in TEXTS if not isinstance(found.get(key, ""), str)]:
        raise ValueError(f"{wrong[0]}: expected text")
    remarks = found.get("remarks", [])
    if not isinstance(remarks, list) or not all(isinstance(one, str) for one in remarks):
        raise ValueError("remarks: expected a list of texts")
    for split in ("val", "test"):
        _check_numbers(found.get(split, {}), split, True)
    if "finished" in found:
        datetime.fromisoformat(found["finished"])
    if found["kind"] != "generator":
        _check_detector(found)


def _check_detector(found: Settings) -> None:
    """Check what only a detector has: thresholds, calibration and the number of parameters."""
    for key in ("thresholds", "score_thresholds"):
        _check_numbers(found.get(key, {}), key, False)
        if key == "thresholds" and not {"frame", "video"} <= set(found.get(key, {})):
            raise ValueError("thresholds: expected the numbers frame and video")
    known = found.get("calibration") or {}
    if not isinstance(known, dict):
        raise ValueError("calibration: expected an object")
    for name, settings in known.items():
        if name not in CALIBRATIONS:
            raise ValueError(f"calibration: expected the names {', '.join(CALIBRATIONS)}")
        try:
            CALIBRATIONS[name].from_settings(settings)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"calibration.{name} is damaged ({str(error)[:80]})") from None
    if type(found.get("parameters", 0)) is not int:
        raise ValueError("parameters: expected a whole number")


def _check_numbers(values: object, key: str, optional: bool) -> None:
    """Check that a mapping contains finite numbers, or, if `optional`, null for an unknown value."""
    numbers = values.values() if isinstance(values, dict) else [values]
    for value in numbers:
        if isinstance(value, bool) or not (isinstance(value, int | float) and math.isfinite(value)):
            if not (optional and value is None):
                raise ValueError(f"{key}: expected numbers by name")


def control_character(text: str) -> str | None:
    r"""Return the first control or formatting character of a text, such as `\x1b`, or None if the text has none."""
    bad = (one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs") and one not in "\n\t" + JOINERS)
    first = next(bad, None)
    return None if first is None else first.encode("unicode_escape").decode()


def _texts(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"it contains {text}")
