"""The error for an invalid run folder."""


class RunError(ValueError):
    """A folder is not a finished run, or its weights cannot be read safely."""
