"""For data sets of clips with sound in which either part may be fake: which part decides the label."""

JUDGED = ("either", "sound", "image")


def check_judged(judged: str) -> str:
    """Return `judged`.

    Raises:
        ValueError: it is not one of `JUDGED`.
    """
    if judged not in JUDGED:
        raise ValueError(f"data.judged={judged}: expected one of {', '.join(JUDGED)}")
    return judged


def is_fake(judged: str, sound: bool, image: bool) -> bool:
    """Return whether a clip counts as fake.

    Args:
        judged: `sound` or `image` looks only at this part of the clip; `either` at both.
        sound: whether the sound is fake.
        image: whether the image is fake.
    """
    return {"sound": sound, "image": image, "either": sound or image}[judged]
