"""Print the verdict on a file: its score, a line for each face, what the score means, and generators' marks in it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from unmask.console import say
from unmask.files import printable
from unmask.media.crops import Crops
from unmask.media.indices import burst_indices
from unmask.media.reader import open_media
from unmask.metrics import detection
from unmask.provenance import inspect
from unmask.runs.errors import RunError
from unmask.runs.run import Run, is_demo

MARKED = 8  # number of frames of a video that are searched for a watermark


def tell_score(path: Path, score: float, cut: float) -> None:
    """Print the file's score in [0, 1]; `score` and the threshold `cut` are logits."""
    say(f"\n{printable(path.name)}: score {_digits(score, cut)} (0: real, 1: fake)", style="bold")


def tell_calibrated(name: str, prob: float) -> None:
    """Print the calibrated probability.

    An extreme value is printed as `below 0.01` or `above 0.99`, because few items have such values.
    """
    shown = f"{prob:.2f}" if 0.01 <= prob <= 0.99 else "below 0.01" if prob < 0.01 else "above 0.99"
    say(f"  calibrated: {shown} ({name}, fitted to the run's validation split; assumes the same share of fakes)")


def tell_faces(crops: Crops, predictions: pd.DataFrame, cut: float) -> None:
    """Print the number of faces and, if there are several, a line for each; face 1 is the main face."""
    scores = detection.tracks(predictions).set_index("track")["score"]
    several, still = len(scores) > 1, len(np.unique(crops.frame)) == 1
    words = "faces found and scored; the highest score is the score of the file:" if several else "face found"
    say(f"  {len(scores)} {words}")
    for track, score in scores.items() if several else ():
        rows = crops.track == track
        centre = ", ".join(f"{value:.0f}" for value in (crops.box[rows, :2] + crops.box[rows, 2:]).mean(0) / 2)
        when = "" if still else f", seen from {crops.time[rows].min():.1f} to {crops.time[rows].max():.1f} s"
        side, shown = "above" if score > cut else "below", _digits(float(score), cut)
        say(f"    face {int(str(track)) + 1}: {shown}, {side} the threshold; its centre is at ({centre}) px{when}")
    if crops.brief:
        say(f"  {crops.brief} more faces were not scored, because they appear in too few frames; some may not be faces")


def tell_run(run: Run, score: float, cut: float, samples: str, faces: int) -> None:
    """Print whether the score is above the run's threshold, and how often this threshold errs on test items."""
    seen, table = seen_by(run), _tested(run)
    item = seen.replace("face", "video") if table is None else detection.unit(table)
    side, kind = ("above", "fakes") if score > cut else ("below", f"real {item}s")
    if faces > 1:
        seen = "face with the highest score"
    subject = f"even the {seen}" if faces > 1 and score <= cut else f"the {seen}"
    limit = f"this detector's threshold of {_digits(cut, score)}"
    say(f"  {side} {limit}: {subject} looks more like the {kind} that it was trained on")
    trained = run.config["data"]
    say(f"  {samples} scored with {run.name}, trained on {trained['name'] or trained.get('run')}")
    say(f"  the run: {run.summary}")
    say(f"  {_errors(table, cut, item)}")


def tell_caveats(run: Run, faces: int) -> None:
    """Print the caveats: what cannot be concluded from the score."""
    for remark in run.remarks:
        say(f"  {remark} Do not rely on this score.", style="yellow")
    say("\nLimits of this score:")
    if is_demo(run.config["data"]):
        say(
            "  - This run was trained on rendered demo people. Its scores say nothing about real faces.", style="yellow"
        )
    say(
        "  - A score is not proof. Detectors err more often on files unlike their training data: other forgeries, "
        "phones, re-uploads."
    )
    if faces > 1:
        say(f"  - The highest of {faces} scores is above the threshold by mistake more often than a single score.")
    say("  - The score is not the probability that the file is fake, which also depends on where the file comes from.")
    seen = seen_by(run)
    seen = "faces were" if faces > 1 else f"{seen} was"
    say(
        f"  - Only the {seen} examined: not the sound, the text, or whether a real recording is shown out of context.\n"
    )


def tell_marks(path: Path, decoder: str) -> None:
    """Print the marks in the file: metadata of generators, and the watermark of unmask."""
    reader = open_media(path, decoder)
    frames = reader.read(burst_indices(len(reader), MARKED))
    say("Marks in the file:")
    for finding in inspect(path, frames) or ["no mark of a generator was found"]:
        say(f"  - {printable(finding)}")
    say("  - Marks can be removed or forged, so their absence proves nothing.\n")


def seen_by(run: Run) -> str:
    """Return what the detector sees of a frame, as set by the run's recipe: only the `face`, or the whole `image`."""
    return "face" if run.build("data.recipe").option == "faces" else "image"


def _digits(score: float, other: float) -> str:
    """Format a logit as a probability with 2 decimals; use up to 6 if it would look the same as that of `other`."""
    value, other = detection.probability([score, other]).tolist()
    places = next((count for count in range(2, 6) if f"{value:.{count}f}" != f"{other:.{count}f}"), 6)
    return f"{value:.{places}f}"


def _tested(run: Run) -> pd.DataFrame | None:
    """Return the run's test predictions; None if no test item was scored."""
    try:
        table = run.predictions("test")
    except RunError:
        return None
    return table if table["logit"].notna().any() else None


def _errors(table: pd.DataFrame | None, cut: float, item: str) -> str:
    """Describe how often the threshold, which was chosen on the validation split, errs on the test split."""
    if table is None:
        return "its error rates are unknown: the run has no test predictions"
    tested = detection.videos(table).dropna(subset=["score"])
    shares: dict[int, Any] = {}
    for label in (0, 1):
        scores = tested.loc[tested["label"] == label, "score"]
        shares[label] = (f"{float((scores > cut).mean()):.0%}", len(scores))
    (alarms, real), (found, fake) = shares[0], shares[1]
    if real and fake:
        return (
            f"on its test {item}s, this threshold flags {found} of the fakes and {alarms} of the real ones "
            f"({fake} and {real} {item}s)"
        )
    share, count, kind, other = (alarms, real, "real ones", "fakes") if real else (found, fake, "fakes", "real ones")
    return (
        f"on its test {item}s, this threshold flags {share} of the {kind} ({count} {item}s); there are no {other} in "
        "the test split, so the rate for these is unknown"
    )
