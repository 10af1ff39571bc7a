"""Sentences shown with a run's metrics: remarks on the run, and reasons for undefined metrics."""

from collections.abc import Sequence

from unmask.metrics import bootstrap
from unmask.metrics.rates import Rate, rates
from unmask.reporting.run import NAMES, RunReport

CLASSES = ("real", "fake")


def remarks(run: RunReport) -> list[str]:
    """Return the remarks stored in a run, then remarks on missing classes or too few items for an interval."""
    scored, cut = run.scored[run.whole], run.score_thresholds["video"]
    found = list(run.remarks)
    if not len(scored):
        return [*found, f"No {run.unit} was scored, so there are no metrics."]
    counts = [int((scored["label"] == label).sum()) for label in (0, 1)]
    if min(counts):
        return found + _few(run)
    missing = CLASSES[counts.index(0)]
    words = NAMES | {"balanced_accuracy": "balanced accuracy"}
    lacking = [
        name for metric, name in words.items() if (figure := run.figure(run.whole, "all", metric)) and not figure.known
    ]
    found.append(f"No {missing} {run.unit} was scored, so these metrics are undefined: {', '.join(lacking)}.")
    return found + [_rate(run, rate) for rate in rates(scored, cut)]


def _few(run: RunReport) -> list[str]:
    """Return a sentence that lists the manipulations without intervals; empty if all have intervals."""
    figures = {method: run.figure(run.whole, method, "auroc") for method in run.methods()}
    few = [
        f"{'all fakes' if method == 'all' else method} ({figure.real} real, {figure.fake} fake)"
        for method, figure in figures.items()
        if figure and figure.real and figure.fake and min(figure.real, figure.fake) < bootstrap.FEWEST
    ]
    if not few:
        return []
    return [
        f"Too few {run.unit}s for a confidence interval, which needs at least {bootstrap.FEWEST} scored {run.unit}s of "
        f"each class: {', '.join(few)}."
    ]


def _rate(run: RunReport, rate: Rate) -> str:
    name = {"FPR": "false positive rate (FPR)", "TPR": "true positive rate (TPR)"}[rate.name]
    called = f"{rate.called} of {rate.total} {CLASSES[rate.label]} {run.unit}s are classified as fake"
    return (
        f"At the threshold {run.thresholds['video']:.2f}, {called}: {name} {rate.value:.3f} "
        f"[{rate.low:.3f}, {rate.high:.3f}], 95 % Clopper-Pearson interval."
    )


def named(runs: Sequence[RunReport]) -> list[str]:
    """Return the remarks on several runs, each prefixed with the name of its run."""
    return [f"{run.name}: {sentence}" for run in runs for sentence in remarks(run)]
