"""The same weights behind plain servers, which :mod:`benchmarks.serving` compares the service with."""
