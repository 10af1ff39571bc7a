"""Tables, plots and HTML reports, computed from prediction tables."""
