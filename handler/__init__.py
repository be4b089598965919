"""Prediction and explanation of skin-lesion photographs: with ``api/``, everything that travels in ``mlbio.mar``.

Only :mod:`handler.service` knows TorchServe; the rest runs in a notebook, a test or another serving engine.
"""
