"""Training, evaluation and archiving."""
