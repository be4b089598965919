"""The protocol of MLBIO: classes, the contract of ``POST /predict``, its OpenAPI document, and a client for Python.

Everything else stands on this package; it imports nothing else of the project and nothing heavy.
"""
