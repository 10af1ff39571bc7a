"""Heat maps of the evidence that an image is fake, and a check that they depend on what the network learnt."""
