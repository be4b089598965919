"""The documented ``POST /predict`` on port 8089, in front of TorchServe or another engine: the only public endpoint."""
