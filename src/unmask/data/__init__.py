"""From a data set on disk to training batches: manifest, splits, prepared crops, data module."""
