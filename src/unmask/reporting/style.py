"""One look for all plots, in Okabe and Ito's colours for colour-blind readers: blue is real, vermilion fake."""

import io
from typing import Any, Literal

from matplotlib.figure import Figure

REAL, FAKE, INK, FAINT = "#0072B2", "#D55E00", "#24292f", "#8b949e"
# never the colours of real and fake, so that a colour has one meaning on the whole page
SERIES = ("#00805E", "#8A4FA3", "#B8860B", "#3BA7DB", "#24292f", "#C2649A")
DASHES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
AXIS = "probability of being fake"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "unmask",  # the same table gives the same bytes
    "svg.fonttype": "path",
}


def save(figure: Figure, kind: str, dpi: int = 144) -> bytes:
    """Render to bytes that do not carry the date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()
