"""What is wrong with a run folder."""


class RunError(ValueError):
    """A folder is no finished run, or its weights cannot be read safely."""
