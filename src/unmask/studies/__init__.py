"""Studies of many runs: tables of papers, what their rows need, and the processes that run them."""
