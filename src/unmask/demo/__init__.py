"""Demo data: rendered videos and paintings with forgeries, and rendered portraits, in the layouts of real data sets."""

from unmask.demo.paintings import render_paintings
from unmask.demo.portraits import render_portraits
from unmask.demo.videos import render

__all__ = ["render", "render_paintings", "render_portraits"]
