"""The documented ``POST /predict`` on port 8089, in front of TorchServe: the only public endpoint."""
