"""The demo data: people who do not exist, filmed and forged, portrayed; paintings, forged. In the sets' own layouts."""

from unmask.demo.paintings import render_paintings
from unmask.demo.portraits import render_portraits
from unmask.demo.videos import render

__all__ = ["render", "render_paintings", "render_portraits"]
