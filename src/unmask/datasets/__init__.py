"""The layout and protocol of each data set, one per file."""
