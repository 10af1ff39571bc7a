"""Select the items that a report shows; the selection is deterministic."""

from typing import NamedTuple

import pandas as pd

from unmask.metrics import detection

METHODS, ERRORS = 8, 12  # maximum numbers of manipulations and errors shown


class Choice(NamedTuple):
    """A selected item, with its score and the reason for the selection (`why`)."""

    item: str
    label: int
    method: str
    score: float
    prob: float
    why: str


def typical(predictions: pd.DataFrame) -> list[Choice]:
    """Select the reals with the median and the highest score, and each manipulation's fake with the median score."""
    videos = detection.videos(predictions).dropna(subset=["score"]).sort_values(["score", "item"])
    unit = detection.unit(predictions)
    real = videos[videos["label"] == 0]
    chosen = [_choice(real, (len(real) - 1) // 2, f"real {unit} with the median score")] if len(real) else []
    if len(real) > 1:
        chosen.append(_choice(real, len(real) - 1, f"real {unit} with the highest score"))
    for method in detection.methods(predictions)[:METHODS]:
        fakes = videos[(videos["label"] == 1) & (videos["method"] == method)]
        if len(fakes):
            chosen.append(_choice(fakes, (len(fakes) - 1) // 2, f"{_fake(method)} with the median score"))
    return chosen


def explained(predictions: pd.DataFrame, count: int, localiser: bool) -> list[Choice]:
    """Select `count` items for heat maps: fakes of each manipulation, with scores spread from low to high.

    The last item is the real item with the median score, for comparison. For a localiser (a detector that predicts
    masks), all items are fakes, because only fakes have masks.
    """
    videos = detection.videos(predictions).dropna(subset=["score"]).sort_values(["score", "item"])
    reals = [] if localiser else [one for one in typical(predictions) if one.label == 0][:1]
    methods, room = detection.methods(predictions), count - len(reals)
    each = -(-room // max(len(methods), 1))  # rounded up
    fakes = []
    for turn in range(each):
        for method in methods:
            rows = videos[videos["method"] == method]
            ranks = sorted({len(rows) * (2 * number + 1) // (2 * each) for number in range(each)}) if len(rows) else []
            fakes += [_choice(rows, rank, _fake(method)) for rank in ranks[turn : turn + 1]]
    return fakes[:room] + reals


def of_each_class(predictions: pd.DataFrame, localiser: bool, count: int) -> list[Choice]:
    """Select a real item and a fake item for feature maps; if possible, items that also have heat maps.

    Args:
        predictions: the prediction table of a split.
        localiser: see `explained`.
        count: number of items with heat maps.

    Returns:
        For each class that was scored, the candidate with the median score.
    """
    candidates, chosen = [*explained(predictions, count, localiser)], []
    for label in (0, 1):
        of_class = [one for one in candidates if one.label == label]
        of_class = of_class or [one for one in typical(predictions) if one.label == label][: 1 if label == 0 else None]
        chosen += sorted(of_class, key=lambda one: (one.score, one.item))[len(of_class) // 2 :][:1]
    return chosen


def errors(predictions: pd.DataFrame, threshold: float) -> tuple[list[Choice], int]:
    """Return the misclassified items farthest from the video `threshold` (a logit), and the number of all errors."""
    videos = detection.videos(predictions).dropna(subset=["score"])
    beyond = (videos["score"] - threshold).where(videos["label"] == 0, threshold - videos["score"])
    called = videos["score"] > threshold
    # The column is assigned before rows are removed, because assigning it to an empty table would add rows.
    wrong = videos.assign(beyond=beyond)[called != (videos["label"] == 1)]
    wrong = wrong.sort_values(["beyond", "item"], ascending=[False, True])
    names = {0: "real, classified as fake", 1: "fake, classified as real"}
    return [_choice(wrong, row, names[int(wrong["label"].iloc[row])]) for row in range(min(ERRORS, len(wrong)))], len(
        wrong
    )


def wrongest_frame(predictions: pd.DataFrame, item: str, label: int) -> tuple[int, int]:
    """Return frame number and track of an item's most misleading score: a real's highest or a fake's lowest score."""
    rows = predictions[(predictions["item"] == item) & predictions["logit"].notna()]
    logit = rows["logit"].to_numpy()
    row = rows.iloc[int(logit.argmin() if label == 1 else logit.argmax())]
    return int(row["frame"]), int(row["track"])


def _fake(method: str) -> str:
    """Name a fake and its manipulation, unless the data set only says that it is fake."""
    return "fake" if method == "fake" else f"fake ({method})"


def _choice(table: pd.DataFrame, row: int, why: str) -> Choice:
    video = table.iloc[row]
    facts = str(video["item"]), int(video["label"]), str(video["method"])
    return Choice(*facts, float(video["score"]), float(video["prob"]), why)
