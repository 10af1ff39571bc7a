"""LightningModules: how networks are trained, validated and tested."""
