"""Score detectors and generators."""
