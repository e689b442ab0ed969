"""Distil a small, fast network from a teacher over a folder of unlabelled photographs."""
