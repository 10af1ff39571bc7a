"""Losses, schedules, callbacks, loggers and other parts of training."""
