"""Swap the faces in videos with a trained run, mark the videos and list them in a manifest."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unmask.config import Settings
from unmask.config.build import build
from unmask.console import say
from unmask.data.recipe import overrides
from unmask.evaluation.swaps import SwapFigures, comparisons, recogniser
from unmask.generation.choice import Choice, Numbered, of_photo
from unmask.generation.swap_folder import Job, Pair, claim_folder, find_work, write_table
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
    """Settings of a face swap.

    Args:
        to: the person to render, a name from the run's `data.people`.
        blending: see `media.paste.paste`.
        colour: see `media.paste.match_colours`.
        feather: see `media.paste.paste`.
        search_every: number of frames from one face detection to the next; places in between are interpolated.
        crf: x264 CRF of the video, 0 (lossless) to 51.
        batch_size: number of frames per batch; does not affect the pixels.
        person: number of the face that is swapped, see `generation.choice.Numbered`.
        photo: photo or video of the person whose face is swapped, instead of a number.
        threshold: minimum cosine similarity of a face's embedding to that of the photo; used only with a photo.
    """

    to: str
    blending: str = "feather"
    colour: str = "reinhard"
    feather: float = 0.06
    search_every: int = 2
    crf: int = 14
    batch_size: int = 8
    person: int = 0
    photo: str | None = None
    threshold: float = 0.5

    def describe(self) -> Settings:
        """Return all settings that affect the pixels."""
        return {key: value for key, value in asdict(self).items() if key != "batch_size"}


def swap(
    run: Run,
    video: Path | None,
    how: SwapSettings,
    out: Path,
    marking: Marking,
    measures: Settings,
    devices: Sequence[str] = ("cpu",),
    rerun: bool = False,
) -> None:
    """Make the swapped videos that do not exist yet, then write the manifest.

    Args:
        run: run of a face swapper.
        video: a video, or a folder of videos.
        how: whom to render, and how to paste the face.
        out: the output folder.
        marking: how published videos are marked.
        measures: the configs `identity` and `lpips`, which are arguments of `evaluation.swaps.comparisons`; a photo
            also needs the network of `identity`.
        devices: see `over_devices`.
        rerun: remove existing videos and start over.

    Raises:
        ValueError: the run's module is not a face swapper, a setting is invalid, or no video could be made.
    """
    swapper = load_swapper(run)
    work = find_work(checked(run, video, how, measures), how.to, out, run)
    claim_folder(out, run, how.describe(), marking, rerun)
    kept = UnmarkedFaces(run.build("data.recipe"), out)
    todo = [(job, pair) for job, pair in work if not (job.path("videos").is_file() and kept.has_both(*pair))]
    say(f"{run.name}: rendering the face of {how.to} in {len(todo)} of {len(work)} videos; output folder: {out}")
    if todo:
        kept.reopen()
    each = SwapVideos(swapper, how, marking, measures)
    lost = dict(reason for found in over_devices(list(devices), each, todo, "swapping") for reason in found.items())
    write_table(work, marking, lost)
    if made := [pair for job, pair in work if job.name not in lost]:
        kept.finish(made)
    _print_summary(out, len(made), len(work), kept.recipe, marking)


def checked(run: Run, video: Path | None, how: SwapSettings, measures: Settings) -> Path:
    """Check all settings and return the video, or the folder of videos.

    Raises:
        ValueError: some settings are invalid; the message lists all of them.
    """
    wrong, people = list[str](), people_of(run)
    if video is None:
        wrong.append("video missing: expected a video or a folder of videos")
    elif not video.exists():
        wrong.append(f"video={video}: no such file or folder")
    if how.to not in people:
        wrong.append(f"to={how.to}: expected one of {', '.join(people)}, the people of {run.name}")
    if how.blending not in BLENDS:
        wrong.append(f"blending={how.blending}: expected {' or '.join(BLENDS)}")
    if how.colour not in COLOURS:
        wrong.append(f"colour={how.colour}: expected {' or '.join(COLOURS)}")
    if not 0 <= how.feather <= 0.25:
        wrong.append(f"feather={how.feather}: expected a fraction of the face crop from 0 to 0.25")
    wrong += _wrong_choice(how, measures)
    least = {"search_every": how.search_every, "batch_size": how.batch_size}
    wrong += [f"{key}={value}: expected at least 1" for key, value in least.items() if value < 1]
    if wrong:
        raise ValueError("\n  ".join(["the faces cannot be swapped:", *wrong]))
    assert video is not None
    return video


def _wrong_choice(how: SwapSettings, measures: Settings) -> list[str]:
    """Return what is wrong with the choice of the person whose face is swapped."""
    wrong = list[str]()
    if how.person < 0:
        wrong.append(f"person={how.person}: expected 0 for the main face, 1 for the next one, ...")
    if how.photo is None:
        return wrong
    if how.person:
        wrong.append(f"person={how.person} and photo={how.photo}: set only one of them")
    if not Path(how.photo).is_file():
        wrong.append(f"photo={how.photo}: no such file")
    if not -1 <= how.threshold <= 1:
        wrong.append(f"threshold={how.threshold}: expected a cosine similarity from -1 to 1")
    network = measures["identity"]
    if network["weights"] is None and network["pretrained"] is None:
        wrong.append(
            "photo needs weights of InceptionResnetV1: set identity.weights=PATH, or identity.pretrained=vggface2 to "
            "download them once; or choose the face by its number, such as person=1"
        )
    return wrong


def people_of(run: Run) -> list[str]:
    """Return the people that a run can render, in the order of their indices."""
    return list(run.config["data"].get("people") or {})


@dataclass(frozen=True)
class SwapVideos:
    """Swaps faces in videos on one device. With several devices, one process per device runs a pickled copy of it."""

    swapper: Trained[FaceSwapper]
    how: SwapSettings
    marking: Marking
    measures: Settings

    def __call__(self, device: str, todo: Iterable[tuple[Job, Pair]]) -> dict[str, str]:
        """Make the videos in `todo`. Return {name of the job: error message} for the videos that failed."""
        run, how, lost = self.swapper.run, self.how, dict[str, str]()
        size, recipe = int(run.config["image_size"]), run.build("data.recipe")
        swapper = Swapper(
            self.swapper.module, recipe, size, people_of(run).index(how.to), how.search_every, how.blending,
            how.colour, how.feather, how.batch_size, device, self._choice(recipe),
        )  # fmt: skip
        compare, missing = comparisons(self.measures["identity"], self.measures["lpips"], size)
        for job, pair in todo:
            try:
                swap_video(job, pair, swapper, self.marking, how.crf, SwapFigures(compare, missing))
            except MediaError as error:
                lost[job.name] = str(error)
                say(f"  swap failed, video not made: {job.video}: {error}", style="yellow")
        return lost

    def _choice(self, recipe: FaceCrops) -> Choice:
        how = self.how
        if how.photo is None:
            return Numbered(how.person)
        return of_photo(Path(how.photo), recogniser(build(self.measures["identity"])), recipe, how.threshold)


def _print_summary(out: Path, made: int, count: int, recipe: FaceCrops, marking: Marking) -> None:
    """Print how many videos were made, how to train a detector on them, and which marks are switched off."""
    if made:
        call = ["unmask", "train", "experiment=loop/cnn", "data=swapped", f"data.run={out}"]
        call += overrides(
            vars(recipe), vars(FaceCrops(align=True, burst=1, search_every=1))
        )  # the default recipe of data=swapped
        say(f"to train a detector on the unmarked faces: {shlex.join(call)}")
    off = [name for name, value in marking.describe().items() if value == "off"]
    if off:
        say(f"these marks are switched off: {', '.join(off)}; the manifest records this", style="yellow")
    if not made:
        raise ValueError(f"none of {count} videos could be made; for the reasons, see above or {out / 'items.parquet'}")
    videos = f"{made} video{'s' * (made != 1)}"
    say(f"{videos} in {out / 'videos'}; items.parquet is the manifest, previews/ shows frames of each video")
