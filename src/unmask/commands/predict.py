"""Examine pictures and videos with trained detectors, and give a careful answer with its reasons and its evidence.

  unmask predict clip.mp4 run=outputs/celebdf/meso4/0123456789
  unmask predict "photo (1).jpg" run=DIR out=FOLDER
  unmask predict a.jpg b.mp4 FOLDER 'clips/*.mp4' run=DIR,DIR
  unmask predict FOLDER run=DIR format=csv > answers.csv
  unmask predict clip.mp4 model=meso4.onnx         an exported model, without PyTorch (see unmask export)

The answer is one of four: signs of manipulation, no signs found, inconclusive, cannot analyse. No answer says that a
file is real. The answer is inconclusive if the file is unlike the data on which the detector was measured, if a small
change of the file (saved again as JPEG, half size, cropped a little) changes the answer, or if several runs disagree.
trials=false skips the small changes, and explain=false skips the heat maps.

For one file, the answer is printed, and a report (HTML), JSON and a drawing (PNG) are written to the working directory
or to out=FOLDER. For several files, or with format=table, jsonl or csv, one line per file is printed (default: a
table), and these outputs are written only with out=FOLDER.

Exit codes: 0 no signs, 10 signs, 20 inconclusive, 30 cannot analyse. For several files, the exit code is the first of
10, 20, 30 and 0 that occurs. The exit codes 1 and 2 are errors of the command.

run= names a run folder, a pack (see unmask publish), or a pack on the Hugging Face Hub: run=hf://owner/name@REVISION.

The file is prepared with the recipe that the run was trained with, except that all faces are scored, not only the main
face. The file's score is the highest score of its faces. A calibrated probability is also given; the calibration was
fitted to the run's validation split. Its method is calibration=platt (default), temperature, isotonic or none.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from unmask.arguments import unquote
from unmask.console import say
from unmask.failures import fail_clearly
from unmask.files import printable
from unmask.inference.batch import FORMATS, Printer, Wanted, examine_all, find
from unmask.inference.examination import Examination
from unmask.inference.examine import Examiner, Inspection
from unmask.inference.outputs import outputs_for
from unmask.inference.predict import predict, write
from unmask.runs.opening import open_run

KEYS = ("path", "run", "model", "out", "calibration", "trials", "explain", "format")
Given = Mapping[str, str | None]


@fail_clearly
def ask(given: Given, paths: Sequence[str]) -> None:
    """Check the arguments, examine the files, and exit with the code of the answer.

    Args:
        given: arguments by name: `run` (folders, packs or addresses, separated by commas) or `model` (ONNX files) and,
            optionally, `out` (a folder, or the path of the drawing), `calibration` (a name or `none`), `trials` and
            `explain` (`true` or `false`), and `format`.
        paths: files, folders and glob patterns.
    """
    if unknown := sorted(set(given) - set(KEYS)):
        raise ValueError(f"{', '.join(unknown)}: not an argument of predict; expected one of {', '.join(KEYS)}")
    named = given.get("run") or given.get("model")
    if given.get("run") and given.get("model"):
        raise ValueError("run and model are both given: give run folders or exported models, not both")
    missing = [name for name, value in (("path", paths), ("run", named)) if not value]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing: unmask predict FILE run=DIR")
    kind, out = given.get("format"), given.get("out")
    if kind is not None and kind not in FORMATS:
        raise ValueError(f"format={kind}: expected one of {', '.join(FORMATS)}")
    place, runs = Path(out) if out else None, [open_run(one) for one in folders(str(named))]
    for run in runs:
        run.require_weights()
    wanted = find(paths, frozenset().union(*(run.build("data.recipe").suffixes for run in runs)))
    calibration, trials, explain = (
        given.get("calibration") or "platt",
        switch(given, "trials"),
        switch(given, "explain"),
    )
    if len(wanted) == 1 and kind is None:
        code = predict(wanted[0].path, runs, place, calibration, trials, explain).answer.exit_code
    else:
        code = several(wanted, Examiner(runs, calibration, trials, explain), kind or "table", place)
    if code:
        raise SystemExit(code)


def several(wanted: Sequence[Wanted], examiner: Examiner, kind: str, out: Path | None) -> int:
    """Examine several files, print them in the format `kind`, and return the exit code."""
    printer = Printer(kind)
    places = dict(zip(wanted, outputs_for([one.path for one in wanted], out), strict=True)) if out else {}

    def done(one: Wanted, inspection: Inspection | None, examination: Examination) -> None:
        if one in places and inspection is not None:
            write(one.path, inspection, places[one])
        printer.add(one, examination)

    answer = examine_all(wanted, examiner, done)
    printer.close()
    if out and kind == "table":
        say(f"reports: {printable(str(out))}")
    return answer.exit_code


def folders(text: str) -> list[str]:
    """Return the runs in `DIR`, `DIR,DIR` or `[DIR,DIR]`. An existing path may have commas in its name."""
    if Path(text).exists():
        return [text]
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [part.strip() for part in text.split(",") if part.strip()]


def switch(given: Given, key: str) -> bool:
    """Return the boolean value of a key; true by default.

    Raises:
        ValueError: the value is neither true nor false.
    """
    text = str(given.get(key) or "true").lower()
    if text not in ("true", "false"):
        raise ValueError(f"{key}={given[key]}: expected true or false")
    return text == "true"


def main() -> None:
    """Run `unmask predict`. Hydra is slow to import, so it is imported only for flags or Hydra settings."""
    arguments = sys.argv[1:]
    paths = [value for key, value in pairs(arguments) if key == "path" and value is not None]
    if any(argument.startswith(("-", "hydra.", "hydra/")) for argument in arguments):
        if len(paths) > 1:
            raise SystemExit(
                f"unmask: {', '.join(map(repr, paths))} are taken as files, and flags of Hydra allow only one file; "
                "write unmask predict FILE run=DIR, without dashes"
            )
        from unmask.application import verb

        def hydra(cfg: Mapping[object, object]) -> None:
            given = {str(key): None if value is None else str(value) for key, value in cfg.items() if key != "hydra"}
            path = given.pop("path", None)
            ask(given, [] if path is None else [path])

        verb("predict")(hydra)()
        return
    ask({key: value for key, value in typed(arguments).items() if key != "path"}, paths)


def pairs(arguments: Sequence[str]) -> list[tuple[str, str | None]]:
    """Parse `key=value` arguments. The quotes of Hydra are removed, and null becomes None."""
    split = (argument.partition("=") for argument in arguments)
    return [(key.lstrip("+"), None if value == "null" else unquote(value)) for key, _, value in split]


def typed(arguments: Sequence[str]) -> dict[str, str | None]:
    """Return the `key=value` arguments as a dictionary; the last value of a repeated key is kept."""
    return dict(pairs(arguments))


if __name__ == "__main__":
    main()
