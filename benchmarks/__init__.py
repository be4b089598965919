"""Benchmarks. Each measures ours and the plain alternative in one run."""
