"""Worker processes, devices, signals."""
