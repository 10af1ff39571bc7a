"""Tables of metrics by detector and manipulation, for the terminal, HTML pages and papers."""

from collections.abc import Iterator, Sequence

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.constrain import Constrain
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from unmask.config import Settings
from unmask.reporting.remarks import named
from unmask.reporting.run import Figure, RunReport, all_methods, percent
from unmask.reporting.seeds import Spread, by_seed

WIDTH = 100  # terminal columns
WIDE = 4  # maximum number of manipulations shown side by side
# Metrics of a cross-validation that are reported, and their names.
CROSS_VALIDATED = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "auroc": "AUC"}
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        **{sign: "\\" + sign for sign in "&%$#_{}"},
    }
)


def cell(figure: Figure | None) -> str:
    """Format a metric with its interval, or the reason why the metric is missing."""
    if figure is None:
        return "not run"
    if not figure.known:
        return f"n/a ({figure.reason})"
    interval = f"[{figure.low:.3f}, {figure.high:.3f}]" if figure.bounded else f"({figure.unbounded} for an interval)"
    return f"{figure.value:.3f} {interval}"


def coverage(run: RunReport) -> str:
    """Format the share of the run's items that were scored."""
    figure = run.figure("video", "all", "auroc")
    return "n/a" if figure is None else percent(figure.coverage)


def counts(run: RunReport) -> str:
    """Format the numbers of scored real and fake items of the run, such as `20/18`."""
    figure = run.figure("video", "all", "auroc")
    return "0/0" if figure is None else f"{figure.real}/{figure.fake}"


def rows(runs: Sequence[RunReport], metric: str = "auroc") -> Iterator[tuple[RunReport, str, list[Figure | None]]]:
    """Yield (run, level, values): the metric over all fakes, then for each manipulation that occurs in any run."""
    names = ["all", *all_methods(runs)]
    for run in runs:
        for level in run.scored:
            yield run, level, [run.figure(level, name, metric) for name in names]


def seed_rows(runs: Sequence[RunReport], metric: str = "auroc") -> Iterator[tuple[str, str, list[Spread | None]]]:
    """Yield (name, level, spreads) for each group of runs that differ only in their seed; columns are as in `rows`."""
    names = ["all", *all_methods(runs)]
    for group in by_seed(runs):
        for level in group.runs[0].scored:
            yield group.name, level, [group.spread(level, name, metric) for name in names]


def _spread(spread: Spread | None, sign: str = " ±") -> str:
    """Format a mean and its deviation; `n/a` if a run lacks the metric."""
    return "n/a" if spread is None else str(spread).replace(" ±", sign)


def _short(figure: Figure | None) -> str:
    """Format a metric above its interval, at most nine characters wide."""
    if figure is None:
        return cell(figure)
    if not figure.known:
        return f"n/a\n{figure.reason}"
    return f"{figure.value:.2f}\n" + (f"{figure.low:.2f}-{figure.high:.2f}" if figure.bounded else figure.unbounded)


def _fakes(text: str, figure: Figure | None, between: str = "\n") -> str:
    """Add the number of scored fakes to the metric of a manipulation."""
    return text if figure is None else f"{text}{between}{figure.fake} fake{'' if figure.fake == 1 else 's'}"


def console(runs: Sequence[RunReport]) -> Group:
    """Return a table of AUCs with 95 % intervals at each level, at most 100 columns wide, with remarks below."""
    names = all_methods(runs)
    side_by_side = len(names) <= WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("detector", overflow="fold")
    table.add_column("level")
    for name in ["AUC, all", *names] if side_by_side else ["fakes by", "AUC"]:
        if name == "fakes by":
            table.add_column(name, overflow="fold")
        else:
            table.add_column(_plain(name), justify="right", overflow="fold", min_width=9)
    table.add_column("scored\nreal/fake", justify="right", min_width=9)
    for run, level, figures in rows(runs):
        start = (_plain(run.name) if level == next(iter(run.scored)) else "", level)
        if side_by_side:
            beside = [_fakes(_short(figure), figure) for figure in figures[1:]]
            table.add_row(*start, _short(figures[0]), *beside, f"{coverage(run)}\n{counts(run)}")
            continue
        for name, figure in zip(["all", *names], figures, strict=True):
            scored = [coverage(run)] if name == "all" else []
            scored += [f"{figure.real}/{figure.fake}"] if figure else []
            table.add_row(*start, _plain(name), _plain(cell(figure)), "\n".join(scored))
            start = ("", "")
    for title, level, spreads in seed_rows(runs):
        if side_by_side:
            table.add_row(_plain(title), level, *(_spread(spread, "\n±") for spread in spreads), "")
            continue
        for number, (name, spread) in enumerate(zip(["all", *names], spreads, strict=True)):
            table.add_row(*((_plain(title), level) if not number else ("", "")), _plain(name), _spread(spread), "")
    wide = Console(width=10 * WIDTH)
    table.width = min(WIDTH, Measurement.get(wide, wide.options, table).maximum)
    beneath = (Constrain(Text(f"  {line}", style="yellow"), WIDTH) for line in named(runs))
    return Group(table, *beneath)


def _plain(text: str) -> str:
    """Escape brackets, which Rich would read as markup."""
    return text.replace("[", r"\[")


def markdown(runs: Sequence[RunReport]) -> str:
    """Return the table of detectors in GitHub's Markdown, with the remarks below."""
    return markdown_grid(*_grid(runs)) + "".join(f"\n- {line}" for line in named(runs)) + "\n" * bool(named(runs))


def latex(runs: Sequence[RunReport]) -> str:
    """Return the table of detectors in LaTeX (booktabs), with the remarks below."""
    below = "".join(rf"\par\footnotesize {line.translate(LATEX)}" + "\n" for line in named(runs))
    return latex_grid(*_grid(runs)) + below


def _grid(runs: Sequence[RunReport]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table of detectors."""
    head = ["Detector", "Level", "AUC, all", *all_methods(runs), "Real/fake", "Coverage"]
    body = []
    for run, level, (over_all, *others) in rows(runs):
        beside = [_fakes(cell(figure), figure, ", ") for figure in others]
        body.append([run.name, level, cell(over_all), *beside, counts(run), coverage(run)])
    body += [[name, level, *map(_spread, spreads), "-", "-"] for name, level, spreads in seed_rows(runs)]
    return head, body


def markdown_grid(head: Sequence[str], body: Sequence[Sequence[str]], left: int = 2) -> str:
    """Return a Markdown table; the first `left` columns are left-aligned, the others right-aligned."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", r"\|").replace("\n", " ") for text in cells) + " |"

    rule = "|" + "|".join(["---"] * left + ["---:"] * (len(head) - left)) + "|"
    return "\n".join([line(head), rule, *map(line, body)]) + "\n"


def latex_grid(head: Sequence[str], body: Sequence[Sequence[str]], left: int = 2) -> str:
    """Return a LaTeX table (booktabs); the first `left` columns are left-aligned, the others right-aligned."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(text.translate(LATEX) for text in cells) + r" \\"

    columns = "l" * left + "r" * (len(head) - left)
    start = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(head), r"\midrule"]
    return "\n".join([*start, *map(line, body), r"\bottomrule", r"\end{tabular}"]) + "\n"


def cross_validation(cv: Settings) -> Table:
    """Return a table of cross-validation results: mean and standard deviation of each metric over the folds."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("classifier")
    for name in CROSS_VALIDATED.values():
        table.add_column(name, justify="right")
    figures = [deviating(cv, name).removeprefix(f"{words} ") for name, words in CROSS_VALIDATED.items()]
    table.add_row(_plain(str(cv["classifier"])), *figures)
    return table


def deviating(cv: Settings, name: str) -> str:
    """Format one metric of a cross-validation with its name, such as `AUC 0.91 ± 0.02`."""
    return f"{CROSS_VALIDATED[name]} {cv[name]['mean']:.2f} ± {cv[name]['deviation']:.2f}"


def folds(cv: Settings) -> str:
    """Describe how the metrics of a cross-validation were computed."""
    return (
        f"cross-validation: mean ± standard deviation over {cv['folds']} folds of the training split, whose "
        f"{cv['groups']} groups are each in one fold; the best of {cv['tried']} settings was chosen on the same folds"
    )


def csv(summary: pd.DataFrame) -> str:
    """Return a summary as CSV in full precision; undefined values are `n/a`."""
    return summary.to_csv(index=False, na_rep="n/a")
