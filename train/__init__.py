"""Training the classifier, and packing it for TorchServe."""
