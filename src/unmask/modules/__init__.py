"""LightningModules: the recipes by which networks are trained."""
