"""Tables, plots and a page for people, made only from prediction tables."""
