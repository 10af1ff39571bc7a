"""The demo data: people who do not exist, filmed and forged, in Celeb-DF v2's layout."""

from unmask.demo.videos import render

__all__ = ["render"]
