"""Losses, schedules, callbacks and loggers: what training needs besides a network and data."""
