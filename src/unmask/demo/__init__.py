"""Demo data: rendered videos, voices and paintings with forgeries, and portraits, in the layouts of real data sets."""

from unmask.demo.paintings import render_paintings
from unmask.demo.portraits import render_portraits
from unmask.demo.videos import render
from unmask.demo.voices import render_voices

__all__ = ["render", "render_paintings", "render_portraits", "render_voices"]
