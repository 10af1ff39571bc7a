"""Turn the scores of one file into one record per person, with the crops with the highest and lowest scores."""

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data.dataset import CropDataset
from unmask.inference.examination import Answer, Moment, Person
from unmask.inference.score import Score
from unmask.metrics import detection
from unmask.metrics.calibrate import Calibration

SHOWN = 3  # number of crops with the highest scores, and of crops with the lowest scores, per person
SIDE = 192  # px: crops are shown at most this large
QUALITY = 85


def people_of(scored: Score, calibration: Calibration | None, sees: str = "face") -> tuple[Person, ...]:
    """Return a person for each scored track, the main face first. `judge.judged` replaces the preliminary answer.

    Args:
        scored: the scores of the file.
        calibration: the map from scores to calibrated probabilities; None for no calibration.
        sees: `face`, or `image` for whole pictures.
    """
    rows = detection.frames(scored.predictions).reset_index(drop=True)
    people = []
    tracks = detection.tracks(rows)
    for track, score, prob in zip(tracks["track"], tracks["score"], tracks["prob"], strict=True):
        of_track = rows[rows["track"] == track]
        box = scored.crops.box[scored.crops.track == track]
        sides = np.minimum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
        left, top, right, bottom = box.mean(0).tolist()
        people.append(
            Person(
                number=int(track) + 1,
                answer=Answer.INCONCLUSIVE,  # replaced by `judge.judged`
                score=float(prob),
                calibrated=None if calibration is None else float(calibration(float(score))),
                box=(left, top, right, bottom),
                side=float(np.median(sides)),
                moments=_moments(of_track, scored.samples),
                sees=sees,
            )
        )
    return tuple(people)


def shown_rows(rows: pd.DataFrame) -> list[int]:
    """Return the sorted index labels of the rows of one track with the highest and the lowest scores."""
    order = rows["score"].sort_values(kind="stable").index.to_list()
    return sorted({*order[:SHOWN], *order[-SHOWN:]})


def _moments(rows: pd.DataFrame, samples: CropDataset) -> tuple[Moment, ...]:
    shown = set(shown_rows(rows))
    rows = rows.sort_values(["time", "frame"], kind="stable")
    moments = []
    for index, time, frame, prob in zip(rows.index, rows["time"], rows["frame"], rows["prob"], strict=True):
        crop = encode(first_frame(samples, int(index))) if index in shown else b""
        moments.append(Moment(float(time) if np.isfinite(time) else 0.0, int(frame), float(prob), crop))
    return tuple(moments)


def first_frame(samples: CropDataset, number: int) -> NDArray[np.uint8]:
    """Return the crop [S, S, 3] of a sample; for a clip, the crop of its first frame."""
    x = samples.crops([number])[0]
    return np.ascontiguousarray((x[0] if x.ndim == 4 else x).transpose(1, 2, 0))


def encode(picture: NDArray[np.uint8], lossless: bool = False) -> bytes:
    """Encode a picture, RGB [H, W, 3] or grey [H, W], as a small JPEG, or as a PNG if `lossless`."""
    if (most := max(picture.shape[:2])) > SIDE:
        size = (round(picture.shape[1] * SIDE / most), round(picture.shape[0] * SIDE / most))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    if picture.ndim == 3:
        picture = picture[..., ::-1]
    if lossless:
        return cv2.imencode(".png", picture)[1].tobytes()
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
