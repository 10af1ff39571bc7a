"""One file: its scores, and what they mean."""
