"""Add heat maps and masks to the moments of people."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unmask.data.dataset import CropDataset
from unmask.inference.examination import Moment, Person
from unmask.inference.people import encode
from unmask.inference.score import Scorer
from unmask.media.crops import Crops

HALF = 128  # value of a mask whose probability is just above 0.5
EXPLAINED = 6  # maximum number of people who get heat maps and masks: those with the highest scores


def with_heat(people: Sequence[Person], scorer: Scorer, samples: CropDataset) -> tuple[Person, ...]:
    """Add a heat map to each person's moment with the highest score, for `EXPLAINED` people; see `explain.gradcam`."""
    found = dict[int, tuple[int, Moment]]()
    for person in _highest(people):
        at, row = _best(person, samples)
        heat = scorer.engine.heat(samples, row)
        if heat is None:
            return tuple(people)
        found[person.number] = at, replace(person.moments[at], heat=encode(heat))
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
        mask = scorer.engine.mask(samples, int(rows[0]))
        moment = replace(best, mask=encode(mask, lossless=True), area=float((mask >= HALF).mean()))
        done.append(_changed(person, person.moments.index(best), moment))
    return tuple(done)


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
