"""Evaluation: labelled sets of photographs, and every metric of a model on one of them."""
