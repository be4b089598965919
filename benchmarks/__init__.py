"""Commands that print the figures of speed and of explanations in ``docs/``."""
