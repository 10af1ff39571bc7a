"""Heat maps of the evidence for fake, and a sanity check that they depend on what the network learnt."""
