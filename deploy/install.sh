#!/bin/sh
# Install packages with uv, into .venv (make setup) or an image (deploy/Dockerfile). In the folder of requirements.txt:
#
#     sh deploy/install.sh PYTHON ARGUMENT...        (the arguments of `uv pip install`)
#
# TORCH_BACKEND selects the build of torch. cpu, cu130, ...: from PyTorch's own index. Empty: the default index's,
# which comes with the CUDA libraries. auto: the one for this machine's GPU, or without CUDA if it has none, where
# PyTorch's index offers it and answers within three seconds; otherwise the default index's.
set -eu
python=$(command -v "$1") # uv would take a bare name for that of a virtual environment
shift

# As with pip: the system's certificates, and the index of pip's configuration, which uv does not read.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
index=$("$python" -m pip config list | sed -n "s/^[a-z:]*\.index-url='\(.*\)'\$/\1/p" | head -n 1)
export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"

install() { "$python" -m uv pip install --python "$python" "$@"; }

# Separately, because uv would also look in PyTorch's index for torchserve and torch-model-archiver.
install_torch() {
    install --torch-backend="$TORCH_BACKEND" "$@" $(grep -E '^torch(vision)?==' requirements.txt)
}

case ${TORCH_BACKEND-} in
"") ;;
auto)
    if (export UV_HTTP_TIMEOUT=3 UV_HTTP_RETRIES=0 && install_torch --dry-run --no-deps >/dev/null 2>&1); then
        install_torch
    fi
    ;;
*) install_torch ;;
esac
install "$@"
