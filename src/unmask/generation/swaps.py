"""Videos in which one face is drawn as a person of a run: found, followed, drawn, put back, marked, listed."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unmask.config import Settings
from unmask.console import say
from unmask.data.recipe import overrides
from unmask.evaluation.swaps import comparisons
from unmask.generation.swap_folder import Job, Pair, claim_folder, find_jobs, pairs_of, write_table
from unmask.generation.swap_video import swap_video
from unmask.generation.swapper import Swapper
from unmask.generation.trained import FaceSwapper, Trained, load_swapper
from unmask.generation.unmarked_faces import UnmarkedFaces
from unmask.media.kinds import MediaError
from unmask.media.paste import BLENDS, COLOURS
from unmask.media.recipe import FaceCrops
from unmask.parallel.devices import over_devices
from unmask.provenance import Marking
from unmask.runs.run import Run


@dataclass(frozen=True)
class SwapSettings:
    """How faces are swapped; all of it decides pixels.

    Args:
        to: whose face is to be seen, a name of the run's `data.people`.
        blending: see `media.paste.paste`.
        colour: see `media.paste.match_colours`.
        feather: see `media.paste.paste`.
        search_every: faces are found in every n-th frame, and followed in between.
        crf: x264's quality of the video, 0 (lossless) to 51.
    """

    to: str | None
    blending: str = "feather"
    colour: str = "reinhard"
    feather: float = 0.06
    search_every: int = 2
    crf: int = 14


def swap(
    run: Run,
    video: Path | None,
    how: SwapSettings,
    out: Path,
    marking: Marking,
    devices: list[str],
    measures: Settings | None = None,
    batch_size: int = 8,
    rerun: bool = False,
) -> None:
    """Make what is not there yet of the videos, then write the manifest.

    Args:
        run: of a face swapper.
        video: a video, or a folder of videos.
        how: what is drawn, and how it is put in.
        out: the folder of what is made.
        marking: of what is published.
        devices: see `over_devices`.
        measures: the configs `identity` and `lpips` of further figures, see `evaluation.swaps.comparisons`.
        batch_size: frames at once; decides no pixel.
        rerun: start over.

    Raises:
        ValueError: the run is of another kind, a setting cannot work, or no video could be made.
    """
    swapper, people = load_swapper(run), list(run.config["data"].get("people") or {})
    check(run, video, how, people, batch_size)
    assert video is not None and how.to is not None
    jobs = find_jobs(video, out)
    claim_folder(out, run, asdict(how), marking, rerun)
    pairs, kept = pairs_of(how.to, jobs, run), UnmarkedFaces(run.build("data.recipe"), out)
    work = list(zip(jobs, pairs, strict=True))
    todo = [(job, pair) for job, pair in work if not (job.path("videos").is_file() and kept.has_both(*pair))]
    say(f"{len(jobs)} videos to {how.to} of {run.name}, {len(todo)} of them to be made, into {out}")
    if todo:
        kept.begin()
    each = SwapVideos(swapper, how, people.index(how.to), marking, measures, batch_size)
    lost: dict[str, str] = {}
    for found in over_devices(devices, each, todo, "swapping"):
        lost |= found
    write_table(jobs, [fake for fake, _ in pairs], marking, lost)
    if len(lost) < len(jobs):
        kept.finish([pair for job, pair in work if job.name not in lost])
    _tell(out, len(jobs), len(lost), kept.recipe, marking)


def check(run: Run, video: Path | None, how: SwapSettings, people: Sequence[str], batch_size: int) -> None:
    """Refuse settings that cannot work, all at once.

    Raises:
        ValueError: they are named.
    """
    wrong = []
    if video is None:
        wrong.append("video: name the video, or the folder of videos, in which a face is to be drawn anew")
    elif not video.exists():
        wrong.append(f"video={video}: there is no such file or folder")
    if how.to not in people:
        wrong.append(f"to={how.to}: {run.name} knows {', '.join(people)}; name the one who is to be seen")
    if how.blending not in BLENDS:
        wrong.append(f"blending={how.blending}: choose {' or '.join(BLENDS)}")
    if how.colour not in COLOURS:
        wrong.append(f"colour={how.colour}: choose {' or '.join(COLOURS)}")
    if not 0 <= how.feather <= 0.25:
        wrong.append(f"feather={how.feather}: give a share of the face's crop from 0 to 0.25")
    least = {"search_every": how.search_every, "batch_size": batch_size}
    wrong += [f"{key}={value}: take at least 1" for key, value in least.items() if value < 1]
    if wrong:
        raise ValueError("\n  ".join(["the faces cannot be swapped:", *wrong]))


@dataclass(frozen=True)
class SwapVideos:
    """What is done with the videos of one device; pickled where there are several."""

    swapper: Trained[FaceSwapper]
    how: SwapSettings
    identity: int  # number of the person to draw
    marking: Marking
    measures: Settings | None
    batch_size: int

    def __call__(self, device: str, todo: Iterable[tuple[Job, Pair]]) -> dict[str, str]:
        """Make videos; why some could not be made, by their names."""
        run, how, lost = self.swapper.run, self.how, dict[str, str]()
        size = int(run.config["image_size"])
        swapper = Swapper(
            self.swapper.module, run.build("data.recipe"), size, self.identity,
            how.search_every, how.blending, how.colour, how.feather, self.batch_size, device,
        )  # fmt: skip
        compare = comparisons(self.measures["identity"], self.measures["lpips"], size) if self.measures else {}
        for job, pair in todo:
            try:
                swap_video(job, pair, swapper, self.marking, how.crf, compare)
            except MediaError as error:
                lost[job.name] = str(error)
                say(f"  set aside: {job.video}: {error}", style="yellow")
        return lost


def _tell(out: Path, count: int, lost: int, recipe: FaceCrops, marking: Marking) -> None:
    """Say what was made, how a detector learns from it, and which marks are off."""
    if lost < count:
        call = ["unmask", "train", "experiment=loop/cnn", "data=swapped", f"data.run={out}"]
        call += overrides(vars(recipe), vars(FaceCrops(align=True)))  # the usual one of data=swapped
        say(f"a detector sees them before any mark: {shlex.join(call)}")
    off = [name for name, value in marking.describe().items() if value == "off"]
    if off:
        say(f"not marked by {' and '.join(off)}, as the config says; the manifest records it", style="yellow")
    if count and lost == count:
        raise ValueError(f"none of {count} videos could be made, see above and {out / 'items.parquet'}")
    say(f"{count - lost} videos in {out / 'videos'}; items.parquet is the manifest, previews/ shows some")
