"""Demo portraits of people who do not exist, aligned and with attributes, in the layout of CelebA (arXiv:1411.7766).

Attributes that the renderer controls have their true values; all other attributes are -1 in every portrait.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.demo import folder
from unmask.demo.faces import HAIRS, Looks
from unmask.demo.paint import Random, floats
from unmask.demo.people import Person, Pose
from unmask.demo.scenes import Scene
from unmask.provenance import RENDERED, read_marks, source_marks, write_picture

VERSION = 1  # increment when rendered pixels change, so that folders of older versions are rejected
WIDTH, HEIGHT = 178, 218  # size of CelebA's aligned pictures, px
TAKES = 5  # number of pictures per person, all in one scene
FPS = 0.3  # frame rate of the scene; it is so low that consecutive pictures are unrelated
FOLDER = "img_align_celeba"
EYES = (88.5, 111.0)  # the point between the eyes, px
BETWEEN = 39.0  # distance between the eyes, px
QUALITY = (88, 96)  # range of the JPEG quality, drawn for each picture
SPLITS = (0.8, 0.9)  # shares of the people at which validation and test begin
MARK = source_marks(RENDERED, "synthetic: rendered by unmask demo")
ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
).split()
HAIR_NAMES = ("Black_Hair", "Black_Hair", "Brown_Hair", "Brown_Hair", "Blond_Hair", "", "Gray_Hair")  # see HAIRS


@dataclass(frozen=True)
class Portrait:
    """One picture: `number` counts from 1 in the data set, and `take` counts from 0 among the pictures of `person`."""

    number: int
    person: int
    take: int

    @property
    def name(self) -> str:
        """The file name in CelebA's format."""
        return f"{self.number:06d}.jpg"


@dataclass(frozen=True)
class Expression:
    """A person's expression in one picture."""

    smiling: bool
    open: bool

    def wear(self, looks: Looks, r: Random) -> Looks:
        """Return the traits `looks` with this expression: a smile widens the mouth and raises its corners."""
        rise, wide = (r.uniform(0.09, 0.14), r.uniform(1.1, 1.22)) if self.smiling else (r.uniform(-0.02, 0.02), 1.0)
        return replace(looks, mouth=replace(looks.mouth, smile=rise, w=looks.mouth.w * wide))


def render_portraits(
    root: Path,
    *,
    portraits: int = 600,
    seed: int = 0,
    workers: int = 2,
    progress: folder.Progress | None = None,
) -> None:
    """Render the demo portraits, five per person; files of an earlier call with the same arguments are kept.

    Args:
        root: a new folder, or the folder of an earlier call with the same arguments.
        portraits: number of portraits, a multiple of 5, at least 50.
        seed: random seed; together with `portraits`, it determines every byte.
        workers: number of processes; does not affect the files.
        progress: called with (people done, total); None for no call.

    Raises:
        ValueError: an argument is out of range, or `root` has files but was not filled with the same arguments.
    """
    if portraits < 10 * TAKES or portraits % TAKES or seed < 0:
        raise ValueError(
            f"portraits={portraits}, seed={seed}: expected a multiple of {TAKES} portraits, at least {10 * TAKES}, "
            "and a seed of at least 0"
        )
    root, every = Path(root), plan(portraits, seed)
    people = [[one for one in every if one.person == person] for person in range(portraits // TAKES)]
    arguments = {"version": VERSION, "portraits": portraits, "seed": seed}
    job = partial(_write, root=root, seed=seed)
    folder.fill(root, arguments, folder.Jobs(people, lambda who: not _missing(root, who), job), workers, progress)
    _write_tables(root, every)


def plan(portraits: int, seed: int) -> list[Portrait]:
    """List all pictures. As in CelebA, a person's pictures are not consecutive, but they are all in the same split."""
    people = portraits // TAKES
    order: list[tuple[int, int]] = []
    for split, (first, last) in enumerate(pairwise([0, *_starts(people), people])):
        part = [(person, take) for person in range(first, last) for take in range(TAKES)]
        order += [part[k] for k in np.random.default_rng([seed, 12, split]).permutation(len(part))]
    return [Portrait(number, *who) for number, who in enumerate(order, 1)]


def _starts(people: int) -> list[int]:
    """Return the index of the first person in the validation split, and that of the first person in the test split."""
    return [round(share * people) for share in SPLITS]


def attributes(who: Person, expression: Expression) -> dict[str, bool]:
    """Return the attributes that the renderer knows for a picture of `who`, with CelebA's names."""
    looks, cut = who.looks, who.looks.cut
    bald = not cut.wide
    known = {
        "Bald": bald,
        "Bangs": bool(cut.falls) and cut.line[0] > -0.5,
        "Big_Lips": looks.mouth.upper + looks.mouth.lower > 0.14,
        "Eyeglasses": who.glasses,
        "Heavy_Makeup": looks.made_up,
        "Mouth_Slightly_Open": expression.open,
        "Mustache": who.bearded,
        "No_Beard": not who.bearded,
        "Pale_Skin": float(looks.skin.mean()) > 205,
        "Smiling": expression.smiling,
        "Straight_Hair": not (bald or cut.curly or cut.wave),
        "Wavy_Hair": bool(cut.curly or cut.wave),
        "Wearing_Earrings": who.earrings,
        "Wearing_Lipstick": looks.made_up,
        "Young": looks.age <= 0.55,
    }
    hair = "" if bald else HAIR_NAMES[_nearest(looks.hair)]
    return known | {name: name == hair for name in HAIR_NAMES if name}


def _nearest(colour: NDArray[np.float32]) -> int:
    """Return the index of the colour in HAIRS whose hue is most similar; brightness is ignored."""
    hues = HAIRS / np.linalg.norm(HAIRS, axis=1, keepdims=True)
    return int((hues @ (colour / np.linalg.norm(colour))).argmax())


def _missing(root: Path, who: list[Portrait]) -> list[Portrait]:
    return [one for one in who if not (root / FOLDER / one.name).exists()]


def _write(portraits: list[Portrait], root: Path, seed: int) -> None:
    """Render the missing pictures of one person; each picture's metadata lists the attributes that it shows."""
    person = portraits[0].person
    who, sitting = Person((seed, 11, person)), Scene([seed, 14, person], TAKES, FPS)
    for one in _missing(root, portraits):
        rng = np.random.default_rng([seed, 13, one.person, one.take])
        expression = Expression(smiling=rng.random() < 0.48, open=rng.random() < 0.48)
        picture = shoot(who, expression, sitting, sitting.poses[one.take], rng)
        true = " ".join(name for name, known in attributes(who, expression).items() if known)
        quality = int(rng.integers(*QUALITY, endpoint=True))
        write_picture(root / FOLDER / one.name, picture, MARK | {"attributes": true}, quality)


def _write_tables(root: Path, every: list[Portrait]) -> None:
    """Write tables of attributes, splits (0 training, 1 validation, 2 test) and identities in CelebA's format."""
    true = [set(read_marks(root / FOLDER / one.name)["attributes"].split()) for one in every]
    rows = [" ".join(f"{1 if name in known else -1:2d}" for name in ATTRIBUTES) for known in true]
    starts = _starts(len(every) // TAKES)
    tables = {
        "list_attr_celeba.txt": [str(len(every)), " ".join(ATTRIBUTES)]
        + [f"{one.name} {row}" for one, row in zip(every, rows, strict=True)],
        "list_eval_partition.txt": [f"{one.name} {sum(one.person >= start for start in starts)}" for one in every],
        "identity_CelebA.txt": [f"{one.name} {one.person + 1}" for one in every],
    }
    for name, lines in tables.items():
        folder.write(root / name, "\n".join([*lines, ""]))


def shoot(who: Person, expression: Expression, scene: Scene, seen: Pose, rng: Random) -> NDArray[np.uint8]:
    """Render one aligned portrait `[HEIGHT, WIDTH, 3]`."""
    own = who.looks
    # Render the face so small that CelebA's crop, at the renderer's scale, lies inside the frame.
    scale = 0.92 * BETWEEN / (2 * own.eye.x * own.w)
    pose = replace(seen, x=128.0, y=121.0, scale=scale, lid=rng.uniform(0.85, 1.0),
                   mouth=rng.uniform(0.5, 1.0) if expression.open else 0.0)  # fmt: skip
    who.looks = expression.wear(own, rng)
    try:
        frame = scene.shoot(who, pose, who.texture(pose), rng)
    finally:
        who.looks = own
    return align(frame, own, pose)


def align(frame: NDArray[np.uint8], looks: Looks, pose: Pose) -> NDArray[np.uint8]:
    """Rotate, scale and crop a frame so that the eyes are at the same place as in CelebA."""
    # Find the point between the eyes in this pose, by inverting the mapping of the face onto the front of the head.
    u, v = 0.55 * np.tan(pose.yaw), (looks.eye.y + 0.58 * np.sin(pose.pitch)) / np.cos(pose.pitch)
    right, down = u * looks.w * pose.scale, v * looks.h * pose.scale
    c, s = np.cos(pose.roll), np.sin(pose.roll)
    x, y = pose.x + right * c - down * s, pose.y + right * s + down * c
    zoom = BETWEEN / (2 * looks.eye.x * looks.w * pose.scale)
    turn = floats([[c * zoom, s * zoom, 0], [-s * zoom, c * zoom, 0]])
    turn[:, 2] = floats(EYES) - turn[:, :2] @ floats([x, y])
    done = cv2.warpAffine(frame, turn, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(done, np.uint8)
