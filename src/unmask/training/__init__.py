"""Losses, schedules and callbacks: what a training needs beside its network and its data."""
