"""Processes: TorchServe, the gateway and the page are started, kept alive and stopped together."""
