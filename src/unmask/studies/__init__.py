"""Studies of many runs: make tables of papers, prepare what their rows need, and start the processes."""
