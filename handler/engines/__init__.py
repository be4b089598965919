"""Inference: OpenVINO on CPUs, torch on CUDA."""
