"""Many runs: tables of papers, what their rows need, the processes that run them."""
