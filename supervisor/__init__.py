"""Process supervision: starts, restarts and stops TorchServe, the gateway and the page."""
