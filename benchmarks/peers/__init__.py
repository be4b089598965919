"""The same weights served the plain way: what :mod:`benchmarks.serving` compares the service with."""
