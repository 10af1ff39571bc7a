"""Check whether a face or a picture is in the range in which a detector was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unmask.inference.examination import Reason
from unmask.inference.score import Score, Scorer
from unmask.media.quality import blockiness, sharpness
from unmask.metrics.measured import Limits
from unmask.runs.measured import Measured

MEASURED = 8  # maximum number of crops per face that are measured


@dataclass(frozen=True)
class Look:
    """Measures of one face or picture; the values per crop are medians over its crops.

    Attributes:
        side: shorter side of the box, px.
        sharpness: variance of the Laplacian of the crop.
        blockiness: blockiness of the crop; 1 if no blocks are visible.
        bits: bits per pixel of the file; None if unknown.
        distance: distance of the features to the cloud of the validation features; None if it cannot be computed.
    """

    side: float
    sharpness: float
    blockiness: float
    bits: float | None = None
    distance: float | None = None


def looks_of(scored: Score, bits: float | None) -> dict[int, Look]:
    """Measure each track.

    Args:
        scored: the scores of the file.
        bits: bits per pixel of the file; None if unknown.
    """
    crops, distances, looks = scored.crops, _distances(scored), dict[int, Look]()
    for track in np.unique(crops.track).tolist():
        rows = np.flatnonzero(crops.track == track)
        some = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MEASURED)).round().astype(int))]
        pictures = [crops.pixels[row].transpose(1, 2, 0) for row in some]
        box = crops.box[rows]
        looks[track] = Look(
            side=float(np.median(np.minimum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]))),
            sharpness=float(np.median([sharpness(one) for one in pictures])),
            blockiness=float(np.median([blockiness(one) for one in pictures])),
            bits=bits,
            distance=distances.get(track),
        )
    return looks


def _distances(scored: Score) -> dict[int, float]:
    """Return each track's median distance to the cloud; empty if there is no cloud or the features do not fit it."""
    if scored.distance is None:
        return {}
    tracks = scored.samples.table["track"].to_numpy()
    return {int(track): float(np.median(scored.distance[tracks == track])) for track in np.unique(tracks)}


def outside(look: Look, measured: Measured, what: str) -> tuple[Reason, ...]:
    """Return why a face or a picture is outside the range in which the detector was measured; empty if it is inside.

    A compression that is stronger than the range is outside; a weaker one is not, because it removes no traces.

    Args:
        look: the measures of the face or picture.
        measured: the range.
        what: `face` or `picture`, for the messages.
    """
    limits, reasons = measured.limits, list[Reason | None]()
    reasons.append(_size(look.side, limits.get("side"), what))
    reasons.append(_blur(look.sharpness, limits.get("sharpness"), what))
    reasons.append(_compression(look, limits))
    if measured.distance is not None and look.distance is not None and look.distance > measured.distance:
        text = (
            f"the network's features of this {what} are unlike those of the data on which the detector was measured "
            f"(distance {look.distance:.2f}, at most {measured.distance:.2f})"
        )
        reasons.append(Reason("features_outside", text))
    return tuple(reason for reason in reasons if reason is not None)


def _size(side: float, limits: Limits | None, what: str) -> Reason | None:
    if limits is None or limits.low <= side <= limits.high:
        return None
    return Reason(
        "size_outside",
        f"the {what} measures {side:.0f} px, but the detector was measured on {what}s of {limits.low:.0f} to "
        f"{limits.high:.0f} px",
    )


def _blur(value: float, limits: Limits | None, what: str) -> Reason | None:
    if limits is None or limits.low <= value <= limits.high:
        return None
    how = "more blurred" if value < limits.low else "sharper or noisier"
    return Reason(
        "blur_outside",
        f"the {what} is {how} than those on which the detector was measured (sharpness {value:.3g}, "
        f"expected {limits.low:.3g} to {limits.high:.3g})",
    )


def _compression(look: Look, limits: dict[str, Limits]) -> Reason | None:
    bits, blocks = limits.get("bits"), limits.get("blockiness")
    if bits is not None and look.bits is not None and look.bits < bits.low:
        how = f"{look.bits:.2g} bits per pixel, expected at least {bits.low:.2g}"
    elif blocks is not None and look.blockiness > blocks.high:
        how = f"blockiness {look.blockiness:.2f}, expected at most {blocks.high:.2f}"
    else:
        return None
    return Reason(
        "compression_outside",
        f"the file is more strongly compressed than the data on which the detector was measured ({how})",
    )


def untested(scorer: Scorer) -> Sequence[str]:
    """Return caveats about checks that were not possible, because the run has no range or no cloud of features."""
    measured = scorer.run.measured
    if measured is None:
        return (
            "The run does not store the range of inputs in which this detector was measured. So it was not checked "
            "whether this file is like the data on which the detector was measured. To store the range, train the run "
            "again (rerun=true); this needs at least 8 validation items.",
        )
    if not scorer.engine.has_features:
        return (
            "This network gives no features, so only size, sharpness and compression of the file were compared with "
            "the data on which the detector was measured.",
        )
    return ()
