"""The style of all plots, with the colour-blind-safe palette of Okabe and Ito: blue is real, vermilion is fake."""

import io
from typing import Any, Literal

from matplotlib.figure import Figure

REAL, FAKE, INK, FAINT = "#0072B2", "#D55E00", "#24292f", "#8b949e"
# different from the colours of real and fake, so that each colour has one meaning
SERIES = ("#00805E", "#8A4FA3", "#B8860B", "#3BA7DB", "#24292f", "#C2649A")
DASHES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
AXIS = "Predicted probability of fake"
FPR, TPR = "False positive rate (FPR)", "True positive rate (TPR)"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "grid.alpha": 0.25,  # visible on light and dark pages
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "unmask",  # makes the SVG reproducible
    "svg.fonttype": "path",
}
# Lighter versions of dark colours, for dark pages.
DARK = {INK: "#e6edf3", REAL: "#4aa3df", "#00805E": "#2fb58f", "#8A4FA3": "#b98ad0"}


def save(figure: Figure, kind: Literal["svg", "png"], dpi: int = 144) -> bytes:
    """Render a figure as reproducible bytes; an SVG is transparent and follows the page's colour scheme."""
    buffer = io.BytesIO()
    drawing = kind == "svg"
    metadata = {"Date": None} if drawing else {"Software": None}
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, transparent=drawing)
    return _follow_scheme(buffer.getvalue()) if drawing else buffer.getvalue()


def _follow_scheme(svg: bytes) -> bytes:
    """Add CSS rules to an SVG that change its colours with `prefers-color-scheme`."""
    rules = []
    for light, dark in DARK.items():
        for part in ("fill", "stroke"):
            rules.append(f'[style*="{part}: {light.lower()}"] {{ {part}: {dark} !important }}')
    style = f"<style>@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}</style>"
    return svg.replace(b"<defs>", b"<defs>" + style.encode(), 1)
