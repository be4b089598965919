"""Benchmarks: commands that print the figures on speed and explanations in ``docs/``."""
