"""The report: what it shows is what scikit-learn finds, and nothing in it can run or be fetched."""

import base64
import io
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from matplotlib.axes import Axes
from PIL import Image
from rich.console import Console
from scipy.stats import binomtest

from unmask.metrics import bootstrap, detection
from unmask.reporting import examples, page, plots, style, tables
from unmask.reporting.run import HeatMap, HeatMaps, LayerMaps, shares

SHOWN = {"frame": 0.47, "video": 0.53}  # as probabilities
CUTS = {level: float(np.log(prob / (1 - prob))) for level, prob in SHOWN.items()}
EVIL = "toy/swap/<script>alert('x')</script>&$a_1$"


def predictions(seed=0, videos=44, methods=("swap", "temporal"), skill=1.5, unscored=2, evil=False):
    rng, rows = np.random.default_rng(seed), []
    for number in range(videos):
        label = number % 2
        method = methods[number // 2 % len(methods)] if label else "real"
        item = f"toy/{method}/{number:03d}"
        if evil and number == 5:
            item = EVIL
        shift = rng.normal(skill * label - skill / 2, 1)
        if number < unscored:
            rows.append((item, label, method, 0, 0.0, np.nan))
        else:
            rows += [(item, label, method, 6 * n, 6 * n / 25, rng.normal(shift, 0.7)) for n in range(6)]
    frame = pd.DataFrame(rows, columns=["item", "label", "method", "frame", "time", "logit"])
    return frame.assign(track=0, dataset="toy", split="test")


def curves():
    return pd.DataFrame(
        {
            "epoch": [0, 0, 1, 1],
            "step": [9, 9, 19, 19],
            "train/loss": [0.7, np.nan, 0.5, np.nan],
            "val/loss": [np.nan, 0.72, np.nan, 0.6],
            "val/video_auroc": [np.nan, 0.6, np.nan, 0.8],
            "lr-Adam": [1e-3, np.nan, 1e-3, np.nan],
        }
    )


AUDIT = {
    "auroc": 0.52,
    "low": 0.44,
    "high": 0.6,
    "num_real": 90,
    "num_fake": 91,
    "passed": True,
    "features": ["file size", "bit rate"],
    "methods": {"swap": {"auroc": 0.5, "low": 0.4, "high": 0.6}},
    "note": "five folds",
}


def report(table, name="meso4", **changes):
    thresholds = CUTS
    facts = {
        "name": name,
        "predictions": table,
        "score_thresholds": thresholds,
        "summary": detection.summary(table, thresholds, resamples=100),
        "protocol": {"Data": "toy, official test list", "Frames": "6 per video, evenly spaced"},
        "command": f"unmask evaluate run=outputs/{name}/1 data=toy",
    }
    return page.RunReport(**{**facts, **changes})


def small(**changes):
    """A run whose page is quick to draw."""
    return report(predictions(videos=12, methods=("swap",)), **changes)


def strips(item, frames, track=0):
    return [np.full((32, 32, 3), 40 + frame % 200, np.uint8) for frame in frames]


def text_of(path):
    """The page without styles, tags and pictures."""
    html = re.sub(r"<style>.*?</style>", "", path.read_text(), flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


class Summaries(HTMLParser):
    """Collect (run, level, method, metric) -> [value, low, high] from the tables of figures."""

    def __init__(self):
        super().__init__()
        self.figures, self.key = {}, [None] * 4

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "table":
            self.key = [attrs.get("data-run"), attrs.get("data-level"), None, None]
        elif tag == "tr":
            self.key[2:] = [attrs.get("data-method"), None]
        elif tag == "td":
            self.key[3] = attrs.get("data-metric")
            if all(self.key):
                self.figures[tuple(self.key)] = []
        elif tag == "data" and all(self.key):
            self.figures[tuple(self.key)].append(float(attrs["value"]))


def sklearn_figure(table, level, method, metric, cut):
    data = table.dropna(subset=["logit"]).assign(prob=lambda rows: 1 / (1 + np.exp(-rows["logit"])))
    if level == "video":
        data = data.groupby("item").agg({"prob": "mean", "label": "first", "method": "first"})
    data = data if method == "all" else data[data["method"].isin(["real", method])]
    y, p = data["label"].to_numpy(), data["prob"].to_numpy()
    if metric == "eer":
        fpr, tpr, _ = sk.roc_curve(y, p, drop_intermediate=False)
        way = np.linspace(0, 2, 2_000_001)
        gap = np.interp(way, fpr + tpr, fpr) + np.interp(way, fpr + tpr, tpr) - 1
        return np.interp(way[np.argmin(np.abs(gap))], fpr + tpr, fpr)
    if metric == "ece":
        edges = np.linspace(0, 1, 16)
        share, mean, weight = [], [], []
        for low, high in itertools.pairwise(edges):
            inside = (p >= low) & (p < high)
            if inside.any():
                share.append(y[inside].mean()), mean.append(p[inside].mean()), weight.append(inside.mean())
        return np.dot(weight, np.abs(np.subtract(share, mean)))
    called = p > cut
    fpr, tpr, _ = sk.roc_curve(y, p, drop_intermediate=False)
    return {
        "auroc": lambda: sk.roc_auc_score(y, p),
        "ap": lambda: sk.average_precision_score(y, p),
        "accuracy": lambda: sk.accuracy_score(y, called),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(y, called),
        "precision": lambda: sk.precision_score(y, called),
        "recall": lambda: sk.recall_score(y, called),
        "f1": lambda: sk.f1_score(y, called),
        "brier": lambda: sk.brier_score_loss(y, p),
        "log_loss": lambda: sk.log_loss(y, p),
        "tpr_at_1": lambda: tpr[fpr <= 0.01].max(),
        "tpr_at_5": lambda: tpr[fpr <= 0.05].max(),
        "fpr_at_95": lambda: fpr[tpr >= 0.95].min(),
        "pauc": lambda: sk.roc_auc_score(y, p, max_fpr=0.1),
        "aurc": lambda: sure_error(y, p, cut),
    }[metric]()


def sure_error(y, p, cut):
    """Mean over k of the error rate of the k scores that are furthest, in logits, from the threshold."""
    away = np.abs(np.log(p / (1 - p)) - np.log(cut / (1 - cut)))
    wrong = ((p > cut) != y)[np.argsort(-away)]
    return np.mean(np.cumsum(wrong) / np.arange(1, len(y) + 1))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A page of two runs with everything on it."""
    runs = [
        report(predictions(1, evil=True), "meso4", curves=curves(), audit=AUDIT, validation=predictions(9, unscored=0)),
        report(predictions(2, evil=True, skill=3), "cnn_lstm", audit=AUDIT, network={"Parameters": "27,977"}),
    ]
    path = page.write(tmp_path_factory.mktemp("report") / "deep" / "report.html", runs, "Two runs", strips, True)
    return path, runs


def test_every_figure_is_what_scikit_learn_finds(two):
    path, runs = two
    parser = Summaries()
    parser.feed(path.read_text())
    assert len(parser.figures) == 2 * 2 * 3 * len(detection.METRICS)
    for (name, level, method, metric), (value, low, high) in parser.figures.items():
        run = next(run for run in runs if run.name == name)
        expected = sklearn_figure(run.predictions, level, method, metric, SHOWN[level])
        assert value == pytest.approx(expected, abs=1e-6), (name, level, method, metric)
        assert low <= high and (metric == "ece" or low - 0.05 <= value <= high + 0.05)


def test_confusion_matrix_counts_videos(two):
    path, runs = two
    table = re.findall(r'<table class="confusion">.*?</table>', path.read_text(), flags=re.S)[0]
    shown = [int(number) for number in re.findall(r'class="big">(\d+)<', table)]
    data = runs[0].predictions.dropna().assign(prob=lambda rows: 1 / (1 + np.exp(-rows["logit"])))
    data = data.groupby("item").agg({"prob": "mean", "label": "first"})
    assert shown == sk.confusion_matrix(data["label"], data["prob"] > SHOWN["video"]).ravel().tolist()


def test_page_has_all_parts(two):
    text = text_of(two[0])
    for part in (
        "Demo data.",
        "They say nothing about real deepfakes.",
        "Comparison",
        "Pairwise differences",
        "toy, official test list",
        "Parameters 27,977",
        "Metrics by manipulation",
        "Training",
        "Scores over time",
        "fake (temporal) with the median score",
        "Largest errors",
        "Shortcut audit",
        "unmask evaluate run=outputs/cnn_lstm/1 data=toy",
        "95 %",  # coverage: 42 of 44 scored
    ):
        assert part in text.replace("&nbsp;", " "), part


class Elements(HTMLParser):
    """Collect the elements of a page in their order: tag and attributes."""

    def __init__(self, path):
        super().__init__()
        self.found = []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def values(self, name):
        return [attrs[name] for _, attrs in self.found if name in attrs]


LOADING = ("src", "srcset", "href", "xlink:href", "action", "data", "poster", "background", "ping", "formaction")


def test_page_loads_nothing_and_runs_nothing(two):
    page_of_two = Elements(two[0])
    targets = [value for name in LOADING for value in page_of_two.values(name)]
    assert len(targets) > 40 and all(target.startswith(("data:image/", "#")) for target in targets)
    html = two[0].read_text()
    assert not re.search(r"@import|url\(|<script|<iframe|<link|<object|<base|http-equiv=.refresh|\son\w+=", html)
    assert [path.name for path in two[0].parent.iterdir()] == ["report.html"]
    for kind, content in re.findall(r'src="data:image/([^;]+);base64,([^"]+)"', html):
        drawing = base64.b64decode(content).decode() if kind == "svg+xml" else ""
        linked = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)|@import', drawing)
        assert all((a or b).startswith("#") for a, b in linked), "a plot loads something"


def test_contents_link_to_every_section(two):
    elements = Elements(two[0])
    names = elements.values("id")
    assert len(names) == len(set(names)), "an id is there twice"
    links = [target.removeprefix("#") for target in elements.values("href")]
    headings = [attrs["id"] for tag, attrs in elements.found if tag in ("h2", "h3") and "id" in attrs]
    assert links == [name for name in headings if name not in ("about-this-report", "contents")]
    assert {"overview", "run-1", "run-1-plots", "run-2-errors", "audit"} <= set(links)
    labels = elements.values("aria-labelledby")
    assert labels and set(labels) <= set(names)


def test_a_short_page_has_no_contents():
    html = page._environment().from_string("{{ body | headings | length }}")
    assert html.render(body='<h2 id="a">A</h2><h3>none</h3><h3 id="b">B &amp; c</h3>') == "2"
    assert page._headings('<h3 id="b">B &amp; c</h3>') == [("3", "b", "B &amp; c")]


def test_markup_is_semantic(two):
    elements = Elements(two[0])
    tags = [tag for tag, _ in elements.found]
    assert tags.count("h1") == tags.count("main") == tags.count("nav") == 1
    assert all(attrs.get("alt", "").strip() for tag, attrs in elements.found if tag == "img")
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in elements.found if tag == "th")
    assert tags.count("caption") + tags.count("figcaption") >= tags.count("table")
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))


def colours(block):
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block))


def luminance(colour):
    digits = colour.removeprefix("#")
    parts = (
        [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)] if len(digits) == 6 else [int(d, 16) / 15 for d in digits]
    )
    return np.dot([0.2126, 0.7152, 0.0722], [((p + 0.055) / 1.055) ** 2.4 if p > 0.04045 else p / 12.92 for p in parts])


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_is_readable_in_both_colour_schemes(two):
    """WCAG's 4.5 for text; every colour of the light scheme has its dark counterpart, and so do plots."""
    css = re.search(r"<style>(.*?)</style>", two[0].read_text(), flags=re.S)[1]
    light, dark = css.split("@media screen and (prefers-color-scheme: dark)", 1)
    light, dark = colours(light), colours(dark[: dark.index("\n}")])
    assert light.keys() == dark.keys()
    for scheme in (light, dark):
        for text in ("ink", "quiet", "link", "real", "fake", "bad"):
            assert contrast(scheme[text], scheme["page"]) >= 4.5, (text, scheme[text])
        for box in ("demo", "warn", "right", "wrong", "faint"):
            assert contrast(scheme["ink"], scheme[box]) >= 4.5, box
    assert luminance(dark["page"]) < 0.02
    for colour in (style.INK, *style.SERIES, style.REAL, style.FAKE):
        assert contrast(style.DARK.get(colour, colour), dark["page"]) >= 3, f"a line of {colour} on a dark page"


def test_plots_follow_the_colour_scheme(two):
    """Every SVG is transparent, and each dark colour that it draws with has a rule for a dark page."""
    html = two[0].read_text()
    drawings = [base64.b64decode(text).decode() for text in re.findall(r'"data:image/svg\+xml;base64,([^"]+)"', html)]
    assert len(drawings) > 12
    for drawing in drawings:
        assert "fill: #ffffff" not in drawing.split("</defs>", 1)[1]
        used = {colour for colour in style.DARK if f": {colour.lower()}" in drawing.split("</defs>", 1)[1]}
        assert style.INK in used and "prefers-color-scheme: dark" in drawing
        assert all(f"fill: {style.DARK[colour]} !important" in drawing for colour in used)


def test_text_of_plots_is_readable_on_a_phone(two):
    """A page of 390 px leaves 358 px for a plot; Matplotlib scales glyphs of 100 units to the size of the font."""
    html, sizes = two[0].read_text(), []
    for text in re.findall(r'"data:image/svg\+xml;base64,([^"]+)"', html):
        drawing = base64.b64decode(text).decode()
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawing)[1])
        sizes += [float(scale) * 100 * 358 / width for scale in re.findall(r" scale\(([\d.]+) -[\d.]+\)", drawing)]
    assert len(sizes) > 200 and min(sizes) >= 10, "px"


def test_hostile_names_are_text(tmp_path):
    table = predictions(1, evil=True)
    table.loc[table["item"] == EVIL, "logit"] = -9.0  # the worst error of all, so that it is shown
    hostile = report(
        table,
        "<img src=x onerror=alert(1)>",
        protocol={"<b>key</b>": "</dl><script>"},
        command="echo '<script>'",
        remarks=["<script>warn"],
    )
    html = page.write(tmp_path / "r.html", [hostile], "<script>title", strips).read_text()
    assert "<script" not in html and "<img src=x" not in html and "<b>key" not in html
    assert "&lt;script&gt;alert(" in html and "&lt;img src=x" in html


def test_demo_banner_only_on_demo_data(two, tmp_path):
    assert "Demo data." in text_of(two[0])
    assert "Demo data." not in text_of(page.write(tmp_path / "r.html", [small()], "t", None, demo=False))


def test_what_was_not_run_says_so(tmp_path):
    a = report(predictions(1, methods=("swap",)), "a")
    b = report(predictions(2, methods=("temporal",)), "b")
    text = text_of(page.write(tmp_path / "r.html", [a, b], "t"))
    # one manipulation at two levels and handling for each run, and the audit
    assert text.count("not run") == 2 * (2 + 1) + 1
    assert "not run" in tables.markdown([a, b]) and "not run" in tables.latex([a, b])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["nothing scored", "reals only", "one frame each", "no rows"])
def test_poor_data_make_a_page_without_invented_figures(tmp_path, case):
    table = predictions(videos=8, unscored=0)
    if case == "nothing scored":
        table = table.drop_duplicates("item").assign(logit=np.nan)
    elif case == "reals only":
        table = table[table["label"] == 0]
    elif case == "one frame each":
        table = table.drop_duplicates("item").assign(time=np.nan)
    else:
        table = table.iloc[:0]
    run = report(table, curves=pd.DataFrame({"step": [1]}), validation=table)
    html = page.write(tmp_path / "r.html", [run], "t", strips).read_text()
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(tables.console([run]))
    if case == "one frame each":
        return
    assert "n/a" in text_of(tmp_path / "r.html") and "n/a" in console.export_text()
    assert not re.search(r"\bnan\b", re.sub(r"data:image/[^\"]*", "", html))


@pytest.mark.slow
def test_shortcut_warning_when_the_interval_misses_a_half(tmp_path):
    found = {**AUDIT, "auroc": 0.7, "low": 0.6, "high": 0.8, "passed": False}
    fine, warned, lied = (
        text_of(page.write(tmp_path / "r.html", [small(audit=audit)], "t"))
        for audit in (AUDIT, found, {**found, "passed": True})
    )
    assert "Shortcut warning." not in fine and "No shortcut was found" in fine
    part = {**AUDIT, "methods": {"swap": {"auroc": 0.7, "low": 0.6, "high": 0.8}}}
    text = text_of(page.write(tmp_path / "r.html", [small(audit=part)], "t"))
    assert "The interval of swap does not contain 0.5" in text and "No shortcut was found" not in text
    assert "does not contain" not in fine
    for text in (warned, lied):
        assert "Shortcut warning." in text and "No shortcut was found" not in text


@pytest.mark.slow
def test_the_same_table_makes_the_same_page(tmp_path):
    a, b = (page.write(tmp_path / name, [small(curves=curves())], "t", strips).read_bytes() for name in "ab")
    assert a == b


def test_a_failed_report_leaves_the_old_one(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="faces were requested"):
        page.write(path, [small()], "new", lambda item, frames, track: [])
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["r.html"]
    with pytest.raises(ValueError, match="at least one run"):
        page.write(path, [], "none")


@pytest.mark.parametrize("number", [1, 3, 5, 9])
def test_console_table_fits_a_hundred_columns(number):
    methods = [f"neural_texture_number_{index}" for index in range(number)]
    run = report(predictions(videos=24 * number, methods=methods), "a_detector_with_quite_a_long_name[v2]")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(tables.console([run, run]))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    figure = run.summary.query("level == 'video' and method == 'all' and metric == 'auroc'").iloc[0]
    digits = 2 if number <= 4 else 3
    assert all(f"{figure[part]:.{digits}f}" in text for part in ("value", "low", "high"))
    assert "…" not in text and "v2]" in text.replace("\n", "")


def test_tables_for_papers_agree_with_the_summary():
    run = report(predictions(), "meso_4|x")
    row = run.summary.query("level == 'frame' and method == 'swap' and metric == 'auroc'").iloc[0]
    shown = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    markdown, latex = tables.markdown([run]), tables.latex([run])
    assert shown in markdown and shown in latex
    assert r"meso_4\|x" in markdown and r"meso\_4|x" in latex and r"95 \%" in latex
    assert len({line.count(" | ") for line in markdown.splitlines()[2:]}) == 1
    again = pd.read_csv(io.StringIO(tables.csv(run.summary)))
    pd.testing.assert_frame_equal(again, run.summary, check_dtype=False)


@pytest.mark.parametrize("numbers", [(3, 1), (23, 17), (1, 199), (0, 5), (9999, 1), (99_999, 1), (37, 24)])
def test_shares_sum_to_a_hundred(numbers):
    words = shares(numbers)
    whole = [100 * number / sum(numbers) for number in numbers]
    for text, share in zip(words, whole, strict=True):
        assert (text == "0 %") == (share == 0) and (text == "100 %") == (share == 100)
        if text[0] in "<>":
            assert (share < 0.1) if text[0] == "<" else (share > 99.9)
        else:
            assert abs(float(text.removesuffix(" %")) - share) < 1
    if not any(text[0] in "<>" for text in words):
        assert sum(float(text.removesuffix(" %")) for text in words) == pytest.approx(100)


def test_every_row_of_a_confusion_matrix_sums_to_a_hundred():
    assert [f"{100 * share:.0f}" for share in (0.575, 0.425)] == ["57", "42"], "what rounding each alone gives"
    assert shares([23, 17]) == ["58 %", "42 %"] and shares([0, 0]) == ["n/a: none"] * 2
    for total in range(1, 120):
        for part in range(total + 1):
            words = shares([part, total - part])
            assert sum(float(text.removesuffix(" %")) for text in words) == pytest.approx(100), (part, total)


def printed(runs):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(tables.console(runs))
    return re.sub(r"\s+", " ", console.export_text())


def test_few_items_show_their_number_and_no_interval(tmp_path):
    """One real and one fake video: an AUC of 1.00 that says nothing."""
    table = predictions(videos=2, methods=("swap",), unscored=0).assign(logit=lambda rows: rows["label"] * 2.0 - 1)
    run = report(table)
    page_text = text_of(page.write(tmp_path / "r.html", [run, run], "t"))
    for text in (printed([run]), tables.markdown([run]), tables.latex([run]), page_text):
        assert "1/1" in text and "1 fake" in text and "1.0" in text
        assert "Too few videos for a confidence interval, which needs at least 10 scored videos of each class" in text
        assert "nan" not in text.lower()
    assert "1.000 (too few for an interval)" in tables.markdown([run]) and "too few" in printed([run])
    assert page_text.count("too few") > 40 and "1 real, 1 fake" in page_text


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_its_rate_and_says_what_it_lacks(tmp_path, label):
    table = predictions(unscored=0).query(f"label == {label}")
    run = report(table)
    missing, there, rate = (("fake", "real", "FPR"), ("real", "fake", "TPR"))[label]
    videos = table.assign(prob=1 / (1 + np.exp(-table["logit"]))).groupby("item")["prob"].mean()
    hits = int((videos > SHOWN["video"]).sum())
    ends = binomtest(hits, len(videos)).proportion_ci(0.95, "exact")
    for text in (
        printed([run]),
        tables.markdown([run]),
        tables.latex([run]).replace("\\", ""),
        text_of(page.write(tmp_path / "r.html", [run], "t", strips)),
    ):
        assert f"No {missing} video was scored, so these metrics are undefined: AUC, AP, EER, balanced accuracy" in text
        assert f"{hits} of {len(videos)} {there} videos are classified as fake" in text
        assert f"({rate}) {hits / len(videos):.3f} [{ends.low:.3f}, {ends.high:.3f}], 95 % Clopper-Pearson" in text
        assert f"no {missing}s" in text


def test_remarks_stand_beside_the_figures(tmp_path):
    run = report(predictions(), remarks=["This training did not learn: <b>."])
    for text in (printed([run]), tables.markdown([run]), tables.latex([run])):
        assert "meso4: This training did not learn: <b>." in text
    assert "This training did not learn: &lt;b&gt;." in page.write(tmp_path / "r.html", [run], "t").read_text()


def test_large_logits_are_decided_by_the_logit(tmp_path):
    """Probabilities of 1.00 on both sides of the threshold: no error, and a confusion matrix without one."""
    table = predictions(unscored=0).assign(logit=lambda rows: rows["label"] * 1.0 + 98)
    cuts = detection.threshold(table)
    run = report(table, score_thresholds=cuts, summary=detection.summary(table, cuts, 50))
    html = page.write(tmp_path / "r.html", [run], "t").read_text()
    shown = re.findall(r'class="big">(\d+)<', re.findall(r'<table class="confusion">.*?</table>', html, flags=re.S)[0])
    assert shown == ["22", "0", "0", "22"] and "No scored video is misclassified" in html
    assert run.figure("video", "all", "auroc").value == run.figure("video", "all", "accuracy").value == 1


def drawn_points(monkeypatch, table):
    """What the training plot draws, by column: its steps."""
    drawn = {}
    original = Axes.plot
    monkeypatch.setattr(
        Axes,
        "plot",
        lambda self, x, y, *args, **kw: drawn.setdefault(y.name, x.tolist()) and original(self, x, y, *args, **kw),
    )
    plots.training(table)
    return drawn


@pytest.mark.parametrize("tested", [True, False])
def test_the_validation_after_training_is_no_point_of_the_training_curve(monkeypatch, tested):
    """As the Trainer writes it: validation at the last step of each epoch, and by the best weights after the last."""
    table = pd.DataFrame(
        {
            "step": [0, 9, 10, 19, 20],
            "epoch": [0, 0, 1, 1, 2],
            "train/loss": [0.7, 0.6, 0.5, np.nan, np.nan],
            "train/samples_per_second": [np.nan, 9.0, np.nan, 9.0, np.nan],
            "val/loss": [np.nan, 0.7, np.nan, 0.9, 0.7],
            "val/video_auroc": [np.nan, 0.8, np.nan, 0.6, 0.8],
            "test/video_auroc": [np.nan] * 4 + [0.7 if tested else np.nan],
        }
    )
    drawn = drawn_points(monkeypatch, table)
    assert drawn == {"train/loss": [0, 9, 10], "val/loss": [9, 19], "val/video_auroc": [9, 19]}
    assert drawn_points(monkeypatch, curves())["val/video_auroc"] == [9, 19], "a log without it keeps all"


def test_csv_says_not_available():
    assert "n/a" in tables.csv(report(predictions().query("label == 0")).summary)


def test_timeline_draws_scores_and_asks_for_the_frames_it_shows():
    table, asked = predictions(), []

    def spy(item, frames, track):
        asked.append((item, frames, track))
        return strips(item, frames)

    item = table["item"].iloc[-1]
    rows = table[table["item"] == item]
    with_faces = Image.open(io.BytesIO(plots.timeline(rows, spy, score_threshold=0.0)))
    without = Image.open(io.BytesIO(plots.timeline(rows, score_threshold=0.0)))
    assert asked == [(item, [0, 6, 12, 18, 24, 30], 0)]
    assert with_faces.format == "PNG" and with_faces.height > without.height
    assert np.asarray(without.convert("L")).std() > 5
    with pytest.raises(ValueError, match="one item"):
        plots.timeline(table, score_threshold=0.0)
    with pytest.raises(ValueError, match="6 faces were requested, but 1 found"):
        plots.timeline(rows, lambda item, frames, track: strips(item, frames)[:1], score_threshold=0.0)


def test_timeline_shows_each_face_in_a_lane_of_its_own():
    rows = predictions().tail(6)  # one item
    both = pd.concat([rows.assign(track=0, logit=-1.0), rows.assign(track=1, logit=2.0, frame=rows["frame"] + 1)])
    asked = []

    def spy(item, frames, track):
        asked.append((track, frames))
        return strips(item, frames)

    heights = [
        Image.open(io.BytesIO(plots.timeline(some, spy, score_threshold=0.0))).height for some in (both, both[:6])
    ]
    assert asked == [(0, [0, 6, 12, 18, 24, 30]), (1, [1, 7, 13, 19, 25, 31]), (0, [0, 6, 12, 18, 24, 30])]
    assert heights[0] > heights[1]
    asked.clear()
    crowd = pd.concat([rows.assign(track=track, logit=float(track)) for track in range(9)])
    plots.timeline(crowd, spy, score_threshold=0.0)
    assert [track for track, _ in asked] == [3, 4, 5, 6, 7, 8], "the six most suspicious of nine"


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 9])
def test_the_page_shows_each_face_of_a_video_with_its_scores(tmp_path, number):
    """Of nine faces the six with the highest scores; with one face there is nothing to tell apart."""
    table = predictions(videos=6, methods=("swap",), unscored=0)
    faces = pd.concat([table.assign(track=track, logit=table["logit"] + track) for track in range(number)])
    path = page.write(tmp_path / "r.html", [report(faces)], "t", strips)
    item = examples.typical(faces)[0].item
    block = re.search(
        rf'<figure class="video"><figcaption><code>{item.replace("/", "/<wbr>")}.*?</figure>', path.read_text(), re.S
    )[0]
    shown = re.findall(r'<li class="(real|fake)"><img src="([^"]*)"[^>]*><span>([\d.]+) s</span> ([\d.]+)</li>', block)
    named = [int(face) for face in re.findall(r"Face (\d): mean", block)]
    assert named == {1: [], 2: [1, 2], 9: [4, 5, 6, 7, 8, 9]}[number]
    assert ("The 6 of 9 faces with the highest scores" in block) == (number == 9)
    rows = faces[(faces["item"] == item) & (faces["track"] + 1).isin(named or [1])]
    prob = 1 / (1 + np.exp(-rows["logit"]))
    assert [(call, when, score) for call, _, when, score in shown] == [
        ("fake" if logit > CUTS["frame"] else "real", f"{time:.1f}", f"{p:.2f}")
        for logit, time, p in zip(rows["logit"], rows["time"], prob, strict=True)
    ]
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(src.split(",")[1])))) for _, src, _, _ in shown]
    assert [int(pixel[0, 0, 0]) for pixel in pixels] == (40 + rows["frame"] % 200).tolist(), (
        "each crop at its own frame"
    )


@pytest.mark.slow
@pytest.mark.parametrize("localiser", [True, False])
def test_heat_maps_say_what_they_are(tmp_path, localiser):
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, format="PNG")
    shown = [HeatMap("toy/swap/001", "fake (swap)", 0.9, png.getvalue())]
    for agreement, words in ((0.1, "depend on the learned weights."), (0.9, "do not interpret"), (np.nan, "constant")):
        run = small(heat=HeatMaps(shown, localiser, agreement, 0.5))
        text = text_of(page.write(tmp_path / "r.html", [run], "t"))
        assert ("Predicted manipulation masks" in text) == localiser and words in text
        assert ("does not show where the forgery is" in text) != localiser


def test_a_page_of_several_runs_compares_their_cost(tmp_path):
    """Cells in the order of the headings; a column that no run has is left out."""
    one = small(name="one", cost={"parameters": 147_265, "gflops": 0.2811, "cpu_1_thread": 12.345})
    runs = [one, small(name="two", cost={"parameters": 12, "cpu_1_thread": 0.5})]
    text = page.write(tmp_path / "page.html", runs, "T").read_text()
    part = text[text.index('id="cost"') :]
    rows = re.findall(r"<tr>(.*?)</tr>", part[: part.index("</table>")], re.DOTALL)
    cells = [[re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]
    assert cells == [
        ["Detector", "Parameters", "GFLOPs", "ms, 1 thread"],
        ["one", "147,265", "0.281", "12.3"],
        ["two", "12", "n/a", "0.5"],
    ]
    assert '<data value="12.345">' in part, "the exact value"
    assert 'id="cost"' not in page.write(tmp_path / "page.html", [one], "T").read_text(), "its own section shows it"


def test_feature_maps_show_the_layer_its_shape_and_its_channels(tmp_path):
    tile = io.BytesIO()
    Image.new("RGBA", (4, 4)).save(tile, "PNG")
    shown = [HeatMap(EVIL, "real video", 0.25, tile.getvalue()), HeatMap("b", "fake (swap)", 0.75, tile.getvalue())]
    layers = [LayerMaps("<b>stages.0", (8, 64, 32), [3, 1], shown)]
    text = page.write(tmp_path / "page.html", [small(layers=layers)], "T").read_text()
    part = text[text.index("Feature maps</h3>") :]
    assert "Layer <code>&lt;b&gt;stages.0</code>" in part and "<script" not in text
    assert "8 channels of 64 &times; 32; shown, row by row:\nchannels 3, 1" in part
    assert part.count(base64.b64encode(tile.getvalue()).decode()) == 2 and "score 0.75" in part
    assert "Feature maps" not in page.write(tmp_path / "page.html", [small()], "T").read_text()


def test_chosen_videos_are_informative():
    table = predictions(3)
    videos = detection.videos(table).dropna()
    chosen = examples.typical(table)
    assert [choice.method for choice in chosen] == ["real", "real", "swap", "temporal"]
    real = videos[videos["label"] == 0]
    assert chosen[1].item == real.loc[real["prob"].idxmax(), "item"]
    assert chosen[0].prob == pytest.approx(np.sort(real["prob"])[(len(real) - 1) // 2])
    wrong, count = examples.errors(table, 0.0)
    assert count == int(((videos["prob"] > 0.5) != (videos["label"] == 1)).sum()) > 0
    assert max(abs(c.prob - 0.5) for c in wrong) == pytest.approx(abs(wrong[0].prob - 0.5))
    assert all((choice.prob > 0.5) == (choice.label == 0) for choice in wrong)


def test_errors_show_the_frame_that_misled_most():
    rows = predictions().tail(6).assign(logit=[1.0, -3.0, 2.0, 0.0, 5.0, 1.0])
    item = rows["item"].iloc[0]
    assert examples.wrongest_frame(rows, item, label=1) == (6, rows["track"].iloc[0])
    assert examples.wrongest_frame(rows, item, label=0) == (24, rows["track"].iloc[0])


def test_pictures_are_pictures(two):
    pictures = re.findall(r'src="data:image/([^;]+);base64,([^"]+)"', two[0].read_text())
    assert {kind for kind, _ in pictures} == {"png", "svg+xml"}
    for kind, content in pictures:
        raw = base64.b64decode(content)
        if kind == "png":
            Image.open(io.BytesIO(raw)).verify()
        else:
            assert b"<svg" in raw and b"<script" not in raw


@pytest.mark.slow
def test_every_pair_of_runs_is_compared_with_corrected_p_values(tmp_path):
    runs = [
        report(predictions(1, skill=skill), name) for name, skill in (("weak", 0.3), ("strong", 3.0), ("fair", 1.0))
    ]
    text = text_of(page.write(tmp_path / "r.html", runs, "t"))
    for first, second in (("strong", "fair"), ("strong", "weak"), ("fair", "weak")):
        a, b = (next(run for run in runs if run.name == name) for name in (first, second))
        found = bootstrap.paired(a.predictions, b.predictions)
        assert f"{first} {second} {found.difference:+.3f} {found.low:+.3f} to {found.high:+.3f}" in text
    assert len(re.findall(r"raw (?:&lt;|\d)", text)) == 2 * 3 and "Holm" in text
    two = text_of(page.write(tmp_path / "two.html", runs[:2], "t"))
    assert "strong weak" in two and "Holm" not in two, "one pair needs no correction"
