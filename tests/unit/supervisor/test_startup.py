"""What is said of a service that cannot start."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from supervisor.startup import ServeError, refuse_dying_workers, refuse_taken_port


@pytest.mark.parametrize("variable", ["MLBIO_PORT", "MLBIO_TORCHSERVE_URL"])
def test_a_taken_port_is_named(variable: str):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(ServeError, match=f"in use.*another with {variable}"):
            refuse_taken_port(f"http://127.0.0.1:{holder.getsockname()[1]}", variable)


def test_an_ipv6_address_is_tried_as_one():
    try:
        holder = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("needs IPv6 on the loopback")
    with holder:
        url = f"http://[::1]:{holder.getsockname()[1]}"
        with pytest.raises(ServeError, match="in use"):
            refuse_taken_port(url, "MLBIO_PORT")
    refuse_taken_port(url, "MLBIO_PORT")


def test_a_port_that_cannot_be_is_said():
    with pytest.raises(ServeError, match="no such port"):
        refuse_taken_port("http://127.0.0.1:99999", "MLBIO_PORT")


def test_a_model_that_cannot_be_loaded_is_said_with_the_reason(tmp_path: Path):
    died = "Backend worker process died.\n"
    log = tmp_path / "torchserve.log"
    log.write_text(died)
    refuse_dying_workers(tmp_path)
    trace = "Traceback:\n  File …\nhandler.model.checkpoint.CheckpointError: it is damaged"
    plain, as_json = trace.rpartition("\n")[2], json.dumps({"message": "died", "trace": trace})
    for said in (plain, as_json):
        log.write_text(f"{died}W-9000 MODEL_LOG - {said}\n{died}")
        with pytest.raises(ServeError, match="loaded: handler.model.checkpoint.CheckpointError: it is damaged\n"):
            refuse_dying_workers(tmp_path)


def test_workers_that_died_at_an_earlier_start_do_not_count(tmp_path: Path):
    log = tmp_path / "torchserve.log"
    log.write_text("Backend worker process died.\n" * 2)
    refuse_dying_workers(tmp_path, log.stat().st_size)
    with pytest.raises(ServeError):
        refuse_dying_workers(tmp_path)
