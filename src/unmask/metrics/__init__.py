"""Metrics of detectors, localisers and generators: pure functions of prediction tables, arrays and tensors."""
