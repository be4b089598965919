"""Evaluation: labelled sets of photographs, and every figure of a model on one of them."""
