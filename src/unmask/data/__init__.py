"""Manifest, splits, store, batches: what lies between a data set on disk and a training."""
