"""Score each face in a video or picture, print and draw the scores (for a video, over time), and print caveats.

  unmask predict clip.mp4 run=outputs/celebdf/meso4/0123456789
  unmask predict "photo (1).jpg" run=DIR out=score.png
  unmask predict clip.mp4 run=DIR calibration=isotonic

The file is prepared with the recipe that the run was trained with, except that all faces are scored, not only the main
face. The file's score is the highest score of its faces. It is also printed as a probability that was calibrated on the
run's validation split; calibration=platt (default), temperature, isotonic or none selects the method. A score is
evidence, not proof.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from unmask.arguments import unquote
from unmask.failures import fail_clearly
from unmask.inference.predict import predict
from unmask.runs.run import Run

KEYS = ("path", "run", "out", "calibration")


@fail_clearly
def ask(given: Mapping[str, str | None]) -> None:
    """Check the arguments and score the file.

    Args:
        given: arguments by name: `path` of the file, `run` (a folder) and, optionally, `out` (path of the picture)
            and `calibration` (a name or `none`).
    """
    if unknown := sorted(set(given) - set(KEYS)):
        raise ValueError(f"{', '.join(unknown)}: not an argument of predict; expected one of {', '.join(KEYS)}")
    if missing := [key for key in ("path", "run") if given.get(key) is None]:
        raise ValueError(f"{' and '.join(missing)} missing: unmask predict FILE run=DIR")
    out, calibration = given.get("out"), given.get("calibration") or "platt"
    predict(Path(str(given["path"])), Run(Path(str(given["run"]))), Path(out) if out else None, calibration)


def main() -> None:
    """Run `unmask predict`; Hydra is imported, which is slow, only if the arguments contain flags or Hydra settings."""
    arguments = sys.argv[1:]
    if any(argument.startswith(("-", "hydra.", "hydra/")) for argument in arguments):
        from unmask.application import verb

        verb("predict")(lambda cfg: ask({str(key): value for key, value in cfg.items()}))()
        return
    ask(typed(arguments))


def typed(arguments: list[str]) -> dict[str, str | None]:
    """Parse `key=value` arguments: Hydra's quotes are removed and null becomes None."""
    found: dict[str, str | None] = {}
    for argument in arguments:
        key, _, value = argument.partition("=")
        found[key.lstrip("+")] = None if value == "null" else unquote(value)
    return found


if __name__ == "__main__":
    main()
