"""Sequence models and recurrent networks."""
