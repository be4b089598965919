"""Threads that decode for the first time at the same moment. msgspec crashes if it is not prepared for that."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

# One process in ten failed before, so many are forked after a single import.
CODE = """
import os, sys, threading
sys.setswitchinterval(1e-6)
from api import client, request

def decode(at_once):
    at_once.wait()
    client._predictions.decode(b'{"prediction":"Melanoma","probability":0.5,"success":true,"explain":null}')
    client._outcomes.decode(b'{"success":true}')
    request.parse_form(b"", {"explain": "true"})
    request.parse_object({"image": "aaaa"})

for _ in range(256):
    if (child := os.fork()) == 0:
        at_once = threading.Barrier(8)
        threads = [threading.Thread(target=decode, args=[at_once]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_first_decoding_in_several_threads():
    finished = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0 and finished.stderr == "", finished.stderr
