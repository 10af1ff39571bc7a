"""Draw scores as SVG in the colours of the page. Only numbers are inserted, so nothing needs to be escaped."""

from collections.abc import Sequence

from markupsafe import Markup

from unmask.inference.examination import Moment

WIDTH, LEFT, RIGHT = 480, 22, 8  # px of the drawing


def scale(score: float, cut: float, others: Sequence[float]) -> Markup:
    """Draw a score and the threshold on a scale from 0 to 1; rings show the scores after small changes."""

    def at(value: float) -> float:
        return LEFT + value * (WIDTH - LEFT - RIGHT)

    rings = "".join(f'<circle class="ring" cx="{at(one):.1f}" cy="26" r="4"/>' for one in others)
    ticks = "".join(
        f'<text x="{at(value):.1f}" y="58" text-anchor="middle">{value:g}</text>' for value in (0, 0.25, 0.5, 0.75, 1)
    )
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} 64" role="img" aria-label="Score {score:.2f}, threshold {cut:.2f}">'
        f'<rect class="area" x="{at(cut):.1f}" y="8" width="{at(1) - at(cut):.1f}" height="36"/>'
        f'<line class="axis" x1="{at(0)}" x2="{at(1)}" y1="44" y2="44"/>'
        f'<line class="cut" x1="{at(cut):.1f}" x2="{at(cut):.1f}" y1="4" y2="44"/>'
        f'{rings}<circle class="{_colour(score, cut)}" cx="{at(score):.1f}" cy="26" r="6"/>{ticks}</svg>'
    )


def timeline(moments: Sequence[Moment], cut: float, duration: float | None) -> Markup:
    """Draw the scores of one person over time, with the threshold of the file's score.

    Args:
        moments: the moments of the person, sorted by time.
        cut: the threshold, in [0, 1].
        duration: duration of the file in s; None if unknown.
    """
    end = max([duration or 0.0, *(moment.time for moment in moments), 0.1])

    def x(time: float) -> float:
        return LEFT + time / end * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return 10 + (1 - value) * 100

    points = " ".join(f"{x(one.time):.1f},{y(one.score):.1f}" for one in moments)
    dots = "".join(
        f'<circle class="{_colour(one.score, cut)}" cx="{x(one.time):.1f}" cy="{y(one.score):.1f}" r="3.2">'
        f"<title>{one.time:.1f} s: {one.score:.2f}</title></circle>"
        for one in moments
    )
    label = f"Scores of {len(moments)} moments over {end:.1f} seconds; threshold {cut:.2f}"
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} 132" role="img" aria-label="{label}">'
        f'<rect class="area" x="{LEFT}" y="{y(1)}" width="{WIDTH - LEFT - RIGHT}" height="{y(cut) - y(1):.1f}"/>'
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(0)}" y2="{y(0)}"/>'
        f'<line class="cut" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(cut):.1f}" y2="{y(cut):.1f}"/>'
        f'<polyline class="line" points="{points}"/>{dots}'
        f'<text x="{LEFT - 5}" y="{y(1) + 4}" text-anchor="end">1</text>'
        f'<text x="{LEFT - 5}" y="{y(0) + 4}" text-anchor="end">0</text>'
        f'<text x="{LEFT}" y="128">0 s</text>'
        f'<text x="{WIDTH - RIGHT}" y="128" text-anchor="end">{end:.1f} s</text></svg>'
    )


def _colour(score: float, cut: float) -> str:
    return "fake" if score > cut else "real"
