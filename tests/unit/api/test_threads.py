"""Threads that decode for the first time at the same moment. msgspec crashes if it is not prepared for that."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

CODE = """
import sys, threading
sys.setswitchinterval(1e-6)
from api import client, contract

at_once = threading.Barrier(8)

def decode():
    at_once.wait()
    client._predictions.decode(b'{"prediction":"Melanoma","probability":0.5,"success":true,"explain":null}')
    client._outcomes.decode(b'{"success":true}')
    contract.parse_form(b"", {"explain": "true"})
    contract.parse_object({"image": "aaaa"})

threads = [threading.Thread(target=decode) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_first_decoding_in_several_threads():
    """Seen in one of ten such processes before."""
    for _ in range(8):
        finished = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert finished.returncode == 0 and finished.stderr == "", finished.stderr
