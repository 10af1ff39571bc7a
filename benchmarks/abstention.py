"""Measure what abstaining costs and gains: coverage and errors of `unmask predict` on the test split of a run.

Every test item is examined, and its answer is compared with its label. There are four rules: the threshold alone, the
threshold with the range test, with the small changes, and with both. For comparison, `AURC` measures abstention by the
score alone: it is the error rate averaged over all coverages if the items nearest to the threshold are left out first.
More pictures, all real, are examined to count false alarms. Nothing is chosen on these data.

With --handled, the test items are examined again after they were saved again, resized or cropped: each picture after
one of the steps of the suite `handling` that change files of pictures, in turn. If a run was trained before ranges were
stored, its range is fitted to its validation split and written to its folder.

python benchmarks/abstention.py RUN [--handled] [--photos FOLDER] [--number 500]
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from _bench import OUT, SHARED

from unmask import compose
from unmask.config.build import build
from unmask.evaluation.loading import data_of
from unmask.evaluation.measured import measured_range
from unmask.files import read_json
from unmask.inference.examination import Examination
from unmask.inference.examine import Examiner
from unmask.metrics import detection, risk
from unmask.perturb.kinds import OnFiles
from unmask.runs.figures import write_json
from unmask.runs.run import Run

RULES = {
    "threshold alone": (),
    "with small changes": ("unstable",),
    "with the measured range": ("size_outside", "blur_outside", "compression_outside", "features_outside"),
    "with both": ("unstable", "size_outside", "blur_outside", "compression_outside", "features_outside"),
}
Case = tuple[Examination, int]  # an examination and the label of its file


def test_items(run: Run) -> list[tuple[Path, int]]:
    """Return the files and the labels of the run's test split."""
    data = data_of(run)
    data.setup("test")
    rows = data.items[(data.items["split"] == "test") & data.items["rejected"].isna()]
    root = Path(run.config["data"]["root"])
    return [(root / path, int(label)) for path, label in zip(rows["path"], rows["label"], strict=True)]


def handled(files: Sequence[tuple[Path, int]], run: Run) -> Iterator[tuple[Path, int]]:
    """Yield each file after one step of the suite `handling`; the copy is deleted when the next one is asked for."""
    suite = build(compose("evaluate", [f"run={run.folder}", "suite=handling"])["suite"])
    kinds = [one for one in suite.perturbations.values() if isinstance(one, OnFiles) and one.pictures]
    steps = [(one, level + 1) for one in kinds for level in range(len(one.levels))]
    print(f"  {len(steps)} steps: " + "; ".join(one.words(level) for one, level in steps))
    for at, (path, label) in enumerate(files):
        one, level = steps[at % len(steps)]
        with TemporaryDirectory() as folder:
            yield one.file(path, level, Path(folder)), label


def with_range(folder: Path) -> Run:
    """Return a run; if it does not store its range, the range is fitted and written to the run folder."""
    run = Run(folder)
    if run.measured is None:
        data = data_of(run)
        data.setup("test")
        found = measured_range(run.module(), data, folder)
        write_json(folder / "metrics.json", read_json(folder / "metrics.json", "train the run again") | found)
    return Run(folder)


def examined(examiner: Examiner, files: Iterable[tuple[Path, int]]) -> list[Case]:
    """Examine the files. Files that cannot be analysed are left out, and their number is printed."""
    cases = [(examiner.examine(path), label) for path, label in files]
    kept = [case for case in cases if case[0].models]
    if len(kept) < len(cases):
        print(f"  {len(cases) - len(kept)} of {len(cases)} files cannot be analysed")
    return kept


def answered(found: Examination, codes: Sequence[str]) -> bool:
    """Return whether a file gets an answer if only these reasons make a file inconclusive, for any of its people."""
    return not any(reason.code in codes for person in found.people for reason in person.reasons)


def row(cases: Sequence[Case], codes: Sequence[str]) -> dict[str, float]:
    """Return coverage, error rate, and the shares of real and of fake files that are called signs of manipulation."""
    kept = [case for case in cases if answered(case[0], codes)]
    called = np.array([found.models[0].above_threshold for found, _ in kept], bool)
    label = np.array([label for _, label in kept], bool)

    def share(of: np.ndarray, among: np.ndarray) -> float:
        return float(of[among].mean()) if among.any() else float("nan")

    return {
        "coverage": len(kept) / len(cases),
        "error": share(called != label, np.ones(len(kept), bool)),
        "real called signs": share(called, ~label),
        "fakes called signs": share(called, label),
        "real files called signs, of all": sum(called & ~label) / max(sum(label == 0 for _, label in cases), 1),
    }


def show(name: str, cases: Sequence[Case]) -> dict[str, dict[str, float]]:
    """Print one table."""
    found = {rule: row(cases, codes) for rule, codes in RULES.items()}
    print(f"\n{name}: {len(cases)} files")
    print(f"{'':<26}" + "".join(f"{column:>34}" for column in next(iter(found.values()))))
    for rule, values in found.items():
        print(f"{rule:<26}" + "".join(f"{value:>34.3f}" for value in values.values()))
    return found


def by_score(cases: Sequence[Case], cut: float) -> dict[str, float]:
    """Return the error rates if the same number of files is left out: those with scores nearest to the threshold."""
    score = detection.logit([found.models[0].score for found, _ in cases]) - cut
    label = np.array([label for _, label in cases])
    order, wrong = np.argsort(-np.abs(score)), (score > 0) != label
    found = {"AURC": float(risk.aurc(score, label))}
    for rule, codes in RULES.items():
        kept = sum(answered(case[0], codes) for case in cases)
        found[f"error at the coverage {rule}"] = float(wrong[order[:kept]].mean()) if kept else float("nan")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--handled", action="store_true", help="also examine the test items after handling")
    parser.add_argument("--photos", type=Path, default=SHARED / "utkface_200", help="folder with real photos")
    parser.add_argument("--number", type=int, default=500, help="number of photographs (default: %(default)s)")
    options = parser.parse_args()
    run = with_range(options.run)
    examiner, files = Examiner([run], explain=False), test_items(run)
    tests = examined(examiner, files)
    tables = {"test split": show(f"test split of {run.name}", tests)}
    if options.handled:
        tables["handled"] = show("the same after handling", examined(examiner, handled(files, run)))
    other = by_score(tests, run.score_thresholds["video"])
    print("\nif the files with scores nearest to the threshold are left out instead:")
    for name, value in other.items():
        print(f"  {name:<48}{value:.3f}")
    photos = sorted(path for path in options.photos.glob("*") if path.is_file())
    some = [photos[at] for at in np.linspace(0, len(photos) - 1, min(options.number, len(photos))).astype(int)]
    if some:
        tables["photographs"] = show("real photographs", examined(examiner, [(path, 0) for path in some]))
    OUT.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"run": run.name, "tables": tables, "by score": other}, indent=2)
    name = "-".join(options.run.absolute().parts[-3:-1])  # data and preset
    (OUT / f"abstention-{name}.json").write_text(text.replace("NaN", "null"))


if __name__ == "__main__":
    main()
