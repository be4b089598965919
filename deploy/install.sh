#!/bin/sh
# Install packages with uv, into .venv (make setup) or an image (deploy/Dockerfile). Next to requirements.txt:
#
#     sh deploy/install.sh PYTHON ARGUMENT...        (the arguments of `uv pip install`)
#
# TORCH_BACKEND selects the build of torch. cpu, cu130, ...: from PyTorch's own index. Empty: the default index's,
# which comes with the CUDA libraries. auto: the one for this machine's GPU, or without CUDA if it has none, where
# PyTorch's index offers it and answers within three seconds; otherwise the default index's.
set -eu
python=$1
shift
torch=${TORCH_BACKEND-}

# As with pip: the system's certificates, and the index of pip's configuration, which uv does not read.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
index=$("$python" -m pip config list | sed -n "s/^[a-z:]*\.index-url='\(.*\)'\$/\1/p" | head -n 1)
export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"

if [ "$torch" = auto ]; then
    grep -E '^torch(vision)?==' requirements.txt |
        UV_HTTP_TIMEOUT=3 UV_HTTP_RETRIES=0 "$python" -m uv pip compile --python "$python" --no-deps --torch-backend=auto - \
            >/dev/null 2>&1 || torch=
fi
exec "$python" -m uv pip install --python "$python" ${torch:+--torch-backend="$torch"} "$@"
