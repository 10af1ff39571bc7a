"""Ask about one file: a score with its caveats, and a picture of what was scored, of a video over its time.

  unmask predict clip.mp4 run=outputs/celebdf/meso4/0123456789
  unmask predict "photo (1).jpg" run=DIR out=score.png

The file goes through the very recipe that the run was trained on. A score is evidence, never proof.
"""

from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig

from unmask.commands._shell import fail_clearly, say
from unmask.config import conf_dir
from unmask.data.augment import to_float
from unmask.data.dataset import CropDataset, Sampling
from unmask.data.store import MemoryStore
from unmask.media.decode import MediaError, burst_indices, open_media
from unmask.metrics import detection
from unmask.provenance import inspect
from unmask.reporting import plots
from unmask.runs import Run, register_resolvers

register_resolvers()

MARKED = 8  # frames of a video in which a watermark is looked for


def predict(path: Path, run: Run, out: Path | None = None) -> float:
    """Score one file, print the verdict, draw the scores; return the probability of fake."""
    cuts, recipe = run.score_thresholds, run.build("data.recipe")
    try:
        crops = recipe(path)
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from None
    store = MemoryStore(path.name, crops)
    predictions = score(run, store)
    scored = detection.videos(predictions).iloc[0]
    prob = float(scored["prob"])
    if len(store.crops) == 1:
        unit, kind = "picture", "score"
        drawn = plots.single(predictions, store.strips, score_threshold=cuts["video"])
    else:
        unit, kind = "frame" if run.config.data.frames is None else "clip", "timeline"
        drawn = plots.timeline(predictions, store.strips, score_threshold=cuts["frame"])
    out = out or Path(f"{path.stem}-{kind}.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(drawn)
    tell(path, run, float(scored["score"]), f"{len(predictions)} {unit}{'s' if len(predictions) > 1 else ''}")
    tell_marks(path, recipe.decoder)
    say(f"{kind}: {out}")
    return prob


@torch.inference_mode()
def score(run: Run, store: MemoryStore) -> pd.DataFrame:
    """The prediction table of one file, sampled as in the run's evaluation."""
    data: Any = run.config.data
    how = Sampling(data.frames_per_video, data.frames, data.consecutive, data.stride)
    samples = CropDataset(store, store.items, how)
    module: Any = run.module()
    logits = []
    for start in range(0, len(samples), data.batch_size):
        wanted = [(0, index) for index in range(start, min(start + data.batch_size, len(samples)))]
        logits.append(module(to_float(samples.__getitems__(wanted)["x"], data.image_size)).float())
    return samples.table.assign(dataset="file", split="none", logit=torch.cat(logits).numpy().astype(np.float64))


def tell(path: Path, run: Run, score: float, samples: str) -> None:
    """Print the score, given as a logit, and what it can and cannot mean."""
    cut, threshold, prob = run.score_thresholds["video"], run.thresholds["video"], float(detection.probability(score))
    side = "above" if score > cut else "below"
    # Of the test split, since the threshold was fitted to the validation split.
    table = run.predictions("test")
    item, seen = f"{detection.unit(table)}s", _seen(run)
    leaning = "looks more like the fakes" if score > cut else f"looks more like the real {item}"
    tested = detection.videos(table).dropna(subset=["score"])
    real, fake = (tested.loc[tested["label"] == label, "score"] for label in (0, 1))
    alarms, found = float((real > cut).mean()), float((fake > cut).mean())
    say(f"\n{path.name}: probability of being fake {prob:.2f}", style="bold")
    say(f"  {side} this detector's threshold of {threshold:.2f}: the {seen} {leaning} it was trained on")
    say(f"  {samples} scored with {run.name}, trained on {run.config.data.name or run.config.data.run}")
    say(
        f"  on its test {item} that threshold flags {found:.0%} of the fakes and {alarms:.0%} of the real ones "
        f"({len(fake)} and {len(real)} {item})"
    )
    say("\nWhat this is not:")
    if run.config.data.get("demo"):
        say("  - This run was trained on rendered demo people. It says nothing about real faces.", style="yellow")
    say("  - No proof. Detectors err more on material unlike their training: other forgeries, phones, re-uploads.")
    say("  - The score is not the chance that the file is fake: that depends on where the file comes from.")
    say(f"  - Only the {seen} was looked at: not the sound, the text, or whether what is real is out of its context.\n")


def tell_marks(path: Path, decoder: str) -> None:
    """Print what the file says of itself: metadata of generators, and the watermark of this one's."""
    reader = open_media(path, decoder)
    frames = reader.read(burst_indices(len(reader), MARKED))
    say("What the file says of itself:")
    for finding in inspect(path, frames) or ["no mark of a generator was found"]:
        say(f"  - {finding}")
    say("  - Marks can be taken off and put on: having none says nothing.\n")


def _seen(run: Run) -> str:
    """What the run's recipe shows the detector of a file."""
    return "face" if run.build("data.recipe").option == "faces" else "picture"


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="predict")
@fail_clearly
def main(cfg: DictConfig) -> None:
    """Run the verb."""
    predict(Path(cfg.path), Run(Path(cfg.run)), Path(cfg.out) if cfg.out else None)


if __name__ == "__main__":
    main()
