"""Prediction and explanation of skin-lesion photographs; with ``api/``, the code in ``mlbio.mar``.

Only :mod:`handler.service` depends on TorchServe; the rest also runs in a notebook or another serving engine.
"""
