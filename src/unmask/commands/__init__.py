"""The verbs: each a thin Hydra application that builds objects and hands them on."""
