"""Evaluate detectors, generators and face swappers."""
