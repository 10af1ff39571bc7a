"""Score one file and explain the result."""
