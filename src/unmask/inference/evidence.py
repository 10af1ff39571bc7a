"""Add heat maps and masks to the moments of people."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.data.dataset import CropDataset
from unmask.data.pixels import to_float
from unmask.inference.examination import Moment, Person
from unmask.inference.people import encode, first_frame
from unmask.inference.score import Scorer
from unmask.media.crops import Crops

HALF = 128  # value of a mask whose probability is just above 0.5
EXPLAINED = 6  # maximum number of people who get heat maps and masks: those with the highest scores


def with_heat(people: Sequence[Person], scorer: Scorer, samples: CropDataset) -> tuple[Person, ...]:
    """Add a heat map to each person's moment with the highest score, for `EXPLAINED` people; see `explain.gradcam`."""
    from unmask.explain.gradcam import heat_maps, overlay  # imported here, because it is not always needed

    found = dict[int, tuple[int, Moment]]()
    for person in _highest(people):
        at, row = _best(person, samples)
        x = to_float(samples.pixels([row]), scorer.run.build("data.loader").image_size)
        try:
            heat = heat_maps(scorer.network, x)[0]
        except ValueError:  # the network has no layer with a spatial output
            return tuple(people)
        heat = heat[0] if heat.ndim == 3 else heat
        picture = encode(overlay(first_frame(samples, row), heat))
        found[person.number] = at, replace(person.moments[at], heat=picture)
    return tuple(_changed(person, *found[person.number]) if person.number in found else person for person in people)


def with_masks(people: Sequence[Person], scorer: Scorer, crops: Crops) -> tuple[Person, ...]:
    """Add the predicted mask of a localising run to each person's moment with the highest score.

    Only the `EXPLAINED` people with the highest scores get a mask.

    Args:
        people: the people.
        scorer: a run of the kind `segmenter`.
        crops: the crops of the same file by the recipe of this run. A person gets no mask if the frame of the moment
            is not among these crops.
    """
    samples, done = scorer.samples(crops), list[Person]()
    chosen = {person.number for person in _highest(people)}
    for person in people:
        best = max(person.moments, key=lambda moment: moment.score)
        table = samples.table
        rows = np.flatnonzero((table["track"] == person.number - 1) & (table["frame"] == best.frame))
        if person.number not in chosen or not len(rows):
            done.append(person)
            continue
        mask = mask_of(scorer, samples, int(rows[0]))
        moment = replace(best, mask=encode(mask, lossless=True), area=float((mask >= HALF).mean()))
        done.append(_changed(person, person.moments.index(best), moment))
    return tuple(done)


@torch.inference_mode()
def mask_of(scorer: Scorer, samples: CropDataset, row: int) -> NDArray[np.uint8]:
    """Return the probability that each pixel of a sample is manipulated, scaled to 0 to 255 [H, W]."""
    size = scorer.run.build("data.loader").image_size
    found = scorer.network(to_float(samples.pixels([row]), size))
    return np.asarray((255 * found[0, 0].float().sigmoid()).round().to(torch.uint8).numpy())


def _highest(people: Sequence[Person]) -> list[Person]:
    return sorted(people, key=lambda person: -person.score)[:EXPLAINED]


def _best(person: Person, samples: CropDataset) -> tuple[int, int]:
    """Return the position of a person's moment with the highest score, and the row of its sample."""
    at = int(np.argmax([moment.score for moment in person.moments]))
    rows = np.flatnonzero((samples.table["track"] == person.number - 1).to_numpy())
    ordered = samples.table.iloc[rows].assign(row=rows).sort_values(["time", "frame"], kind="stable")["row"]
    return at, int(ordered.iloc[at])


def _changed(person: Person, at: int, moment: Moment) -> Person:
    """Replace one moment of a person."""
    return replace(person, moments=(*person.moments[:at], moment, *person.moments[at + 1 :]))
