"""Describe in words what cannot be concluded from the scores of one file, and the error rates of the threshold."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from unmask.inference.examination import Facts, Person
from unmask.inference.reach import untested
from unmask.inference.score import Scorer
from unmask.media.crops import Crops
from unmask.metrics import detection
from unmask.runs.errors import RunError
from unmask.runs.exported import ExportedRun
from unmask.runs.run import Run, is_demo

DEMO = "This run was trained on rendered demo people. Its scores say nothing about real faces."
DEMO_VOICES = "This run was trained on rendered demo voices. Its scores say nothing about real voices."
NO_HEAT = (
    "Heat maps are not available for an exported model. To get them, examine the file with the run folder (run=DIR) in "
    "an environment with PyTorch."
)


def heard_caveats(scorer: Scorer) -> tuple[str, ...]:
    """Return the caveats that apply to a file whose sound was scored by this run."""
    found = [f"{remark} Do not rely on this score." for remark in scorer.run.remarks]
    found += [DEMO_VOICES] if is_demo(scorer.run.config["data"]) else []
    return (
        *found,
        "The sound was scored, not what is said. It was not checked whether the recording is like those on which the "
        "detector was measured; music, noise and other languages can change the score.",
    )


def caveats_of(
    scorer: Scorer, crops: Crops, people: Sequence[Person], facts: Facts, heard: bool = False
) -> tuple[str, ...]:
    """Return the caveats that apply to a file that was scored.

    Args:
        scorer: the first run.
        crops: the crops that were scored.
        people: the people who were scored.
        facts: facts about the file.
        heard: whether another run scored the sound.
    """
    run, several = scorer.run, len(people) > 1
    found = [f"{remark} Do not rely on this score." for remark in run.remarks]
    found += [DEMO] if is_demo(run.config["data"]) else []
    found += untested(scorer)
    found += [] if scorer.engine.has_heat else [NO_HEAT]
    found.append(
        "A score is not proof. Detectors err more often on files unlike their training data: other forgeries, phones, "
        "re-uploads."
    )
    if several:
        found.append(
            f"The highest of {len(people)} scores is above the threshold by mistake more often than a single score."
        )
    found.append(
        "The score is not the probability that the file is fake. This probability also depends on the file's source."
    )
    seen = "faces were" if several else f"{seen_by(run)} was"
    without = "the sound, "
    if heard or scorer.recipe.hears:
        seen, without = f"{'faces' if several else seen_by(run)} and the sound were", ""
    found.append(
        f"Only the {seen} examined: not {without}the text, or whether a real recording is shown out of context."
    )
    return (*found, *_skipped(facts, crops))


def _skipped(facts: Facts, crops: Crops) -> list[str]:
    """Return the caveats about frames and faces that were not scored."""
    found = list[str]()
    if facts.frames is not None and facts.frames > facts.read:
        found.append(
            f"Only {facts.read} of {facts.frames} frames were examined. A manipulation of a short part may be missed."
        )
    if crops.brief:
        found.append(
            f"{crops.brief} more faces were not scored, because they appear in too few frames. Some may not be faces."
        )
    return found


def seen_by(run: Run) -> str:
    """Return what the run's recipe gives to the detector: the `face`, the whole `image`, or the `sound`."""
    return {"faces": "face", "sound": "sound"}.get(run.build("data.recipe").option, "image")


def item_of(run: Run) -> str:
    """Return what the run's test items are: `image`, `video` or `recording`."""
    if isinstance(run, ExportedRun):
        return run.item
    table, seen = _tested(run), seen_by(run)
    if seen == "sound":
        return "recording"
    return seen.replace("face", "video") if table is None else detection.unit(table)


def errors_of(run: Run) -> str:
    """Describe how often the threshold, which was chosen on the validation split, errs on the run's test split."""
    if isinstance(run, ExportedRun):
        return run.errors
    table, cut = _tested(run), run.score_thresholds["video"]
    return _errors(table, cut, item_of(run))


def _tested(run: Run) -> pd.DataFrame | None:
    """Return the run's test predictions; None if no test item was scored."""
    try:
        table = run.predictions("test")
    except RunError:
        return None
    return table if table["logit"].notna().any() else None


def _errors(table: pd.DataFrame | None, cut: float, item: str) -> str:
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
