"""Studies that consist of many runs: fill tables of papers, prepare what their rows need, and start the processes."""
