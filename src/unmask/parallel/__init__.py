"""Worker processes, devices and signals."""
