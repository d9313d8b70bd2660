"""Weights: the published files, and loading that refuses what is not the network's."""
