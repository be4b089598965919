"""The protocol of MLBIO: classes, requests and answers of ``POST /predict``, its OpenAPI document, and a Python client.

Every other package uses this one; it imports no other package of the project, and nothing heavy.
"""
