"""Other servers of the same weights, for the comparison in :mod:`benchmarks.serving`."""
