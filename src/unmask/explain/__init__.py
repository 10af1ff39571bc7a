"""Heat maps of what spoke for fake, and the check whether they tell anything about what was learnt."""
