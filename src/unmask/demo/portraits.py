"""Demo portraits: people who do not exist in CelebA's layout (arXiv:1411.7766), aligned and with its attributes.

Attributes that the renderer knows are true to what is drawn; the others, which it does not know, are -1 for all.
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

VERSION = 1  # raise it when other pixels are drawn: older folders are then refused, not mixed
WIDTH, HEIGHT = 178, 218  # of CelebA's aligned pictures, px
TAKES = 5  # pictures of each person, at one sitting
FPS = 0.3  # so slow that one picture says nothing about the next
FOLDER = "img_align_celeba"
EYES = (88.5, 111.0)  # the point between the eyes
BETWEEN = 39.0  # from eye to eye
QUALITY = (88, 96)  # of the JPEG, drawn for each picture
SPLITS = (0.8, 0.9)  # shares of the people at which validation and test begin
MARK = source_marks(RENDERED, "synthetic: rendered by unmask demo")
ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
).split()
HAIR_NAMES = ("Black_Hair", "Black_Hair", "Brown_Hair", "Brown_Hair", "Blond_Hair", "", "Gray_Hair")  # of HAIRS


@dataclass(frozen=True)
class Portrait:
    """Picture `number` of the set, counted from 1: which person, and which of the person's pictures."""

    number: int
    person: int
    take: int

    @property
    def name(self) -> str:
        """As CelebA names it."""
        return f"{self.number:06d}.jpg"


@dataclass(frozen=True)
class Expression:
    """What a person does for one picture."""

    smiling: bool
    open: bool

    def wear(self, looks: Looks, r: Random) -> Looks:
        """The same person with the corners of the mouth up, or not."""
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
    """Render the demo portraits, five of each person; what an earlier call with the same arguments finished is kept.

    Args:
        root: a new folder, or one of an earlier call.
        portraits: a multiple of 5, at least 50.
        seed: together with `portraits` it decides every byte.
        workers: processes; they decide no byte.
        progress: called with the people done and all people.

    Raises:
        ValueError: an argument out of range, or a folder that holds other things.
    """
    if portraits < 10 * TAKES or portraits % TAKES or seed < 0:
        raise ValueError(
            f"portraits={portraits}, seed={seed}: expected a multiple of {TAKES}, at least {10 * TAKES}, "
            "and a seed from 0"
        )
    root, every = Path(root), plan(portraits, seed)
    people = [[one for one in every if one.person == person] for person in range(portraits // TAKES)]
    arguments = {"version": VERSION, "portraits": portraits, "seed": seed}
    job = partial(_write, root=root, seed=seed)
    folder.fill(root, arguments, folder.Jobs(people, lambda who: not _missing(root, who), job), workers, progress)
    _write_tables(root, every)


def plan(portraits: int, seed: int) -> list[Portrait]:
    """All pictures; as in CelebA a person's pictures lie apart, and no person is in two splits."""
    people = portraits // TAKES
    order: list[tuple[int, int]] = []
    for split, (first, last) in enumerate(pairwise([0, *_starts(people), people])):
        part = [(person, take) for person in range(first, last) for take in range(TAKES)]
        order += [part[k] for k in np.random.default_rng([seed, 12, split]).permutation(len(part))]
    return [Portrait(number, *who) for number, who in enumerate(order, 1)]


def _starts(people: int) -> list[int]:
    """The first person of validation and the first of test."""
    return [round(share * people) for share in SPLITS]


def attributes(who: Person, expression: Expression) -> dict[str, bool]:
    """The attributes that are known of a picture of `who`, by CelebA's names."""
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
    """Which of HAIRS a colour is, made lighter or darker."""
    hues = HAIRS / np.linalg.norm(HAIRS, axis=1, keepdims=True)
    return int((hues @ (colour / np.linalg.norm(colour))).argmax())


def _missing(root: Path, who: list[Portrait]) -> list[Portrait]:
    return [one for one in who if not (root / FOLDER / one.name).exists()]


def _write(portraits: list[Portrait], root: Path, seed: int) -> None:
    """Shoot the pictures of one person that are not there; what is true of them stands in their metadata."""
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
    """Write attributes, splits (0 training, 1 validation, 2 test) and identities as CelebA does."""
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
    """One aligned portrait `[HEIGHT, WIDTH, 3]`."""
    own = who.looks
    # So small that CelebA's frame, brought to the renderer's scale, lies within what is drawn.
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
    """Turn, scale and cut a frame so that the eyes lie where CelebA's do."""
    # Where the pose has the point between the eyes: the inverse of how the face is bent over the head, at its front.
    u, v = 0.55 * np.tan(pose.yaw), (looks.eye.y + 0.58 * np.sin(pose.pitch)) / np.cos(pose.pitch)
    right, down = u * looks.w * pose.scale, v * looks.h * pose.scale
    c, s = np.cos(pose.roll), np.sin(pose.roll)
    x, y = pose.x + right * c - down * s, pose.y + right * s + down * c
    zoom = BETWEEN / (2 * looks.eye.x * looks.w * pose.scale)
    turn = floats([[c * zoom, s * zoom, 0], [-s * zoom, c * zoom, 0]])
    turn[:, 2] = floats(EYES) - turn[:, :2] @ floats([x, y])
    done = cv2.warpAffine(frame, turn, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(done, np.uint8)
