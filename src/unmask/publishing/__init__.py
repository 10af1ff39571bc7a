"""Write a finished run as a pack, with a model card, and push packs to the Hugging Face Hub."""
