"""Figures of merit: pure functions of prediction tables and score arrays, on NumPy and pandas alone."""
