"""The network: preprocessing, weights, calibration and novelty."""
