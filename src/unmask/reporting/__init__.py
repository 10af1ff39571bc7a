"""What a person reads: tables, plots and a page, from prediction tables alone."""
