#!/usr/bin/env bash
# The first minutes of a new user: an empty home, a clone, README's two commands. Prints how long each takes.
#
#     tests/first_minutes.sh [REPOSITORY]         (7 GB of disk, several minutes; everything is deleted afterwards)
#
# The account is empty: no caches, and only a login's variables. pip's index is the machine's (/etc/pip.conf).
set -euo pipefail
repository=$(cd "${1:-$(dirname "$0")/..}" && pwd)
account=$(mktemp -d "${TMPDIR:-/tmp}/first minutes XXXX")
app=
stop() {
    if [ -n "$app" ]; then
        kill -INT -- "-$app" 2>/dev/null || true # Ctrl-C
        wait "$app" || true
        app=
    fi
}
trap 'stop; rm -rf "$account"' EXIT
trap 'exit 130' INT TERM

python=$(command -v python3.11 || command -v python3)
free() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# TorchServe needs three consecutive ports, and the default ones may be in use on this machine.
torchserve=$("$python" - <<'END'
import contextlib, random, socket
while True:
    first = random.randrange(20000, 32000)
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        for port in range(first, first + 3):
            stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        print(first)
        break
END
)
page=$(free)
as_new_user() {
    env -i HOME="$account" PATH="$(dirname "$python"):/usr/local/bin:/usr/bin:/bin" LANG=C.UTF-8 TERM=dumb \
        MLBIO_PORT="$(free)" MLBIO_TORCHSERVE_URL="http://127.0.0.1:$torchserve" MLBIO_PAGE_PORT="$page" "$@"
}

commands=0 started=$SECONDS
report() { printf '%-52s %4d s, %4d s since the start\n' "$1" $((SECONDS - since)) $((SECONDS - started)); }
typed() { commands=$((commands + 1)) since=$SECONDS; printf '\n$ %s\n' "$*"; }

typed git clone REPOSITORY mlbio
as_new_user git clone --quiet "$repository" "$account/mlbio"
report "cloned"
cd "$account/mlbio"

typed 'make demo IMAGE="my photo.jpg"'
cp examples/drawn_nevus.jpg "my photo.jpg"
as_new_user make demo IMAGE="my photo.jpg"
test -s "my photo_explained.png"
report "set up, and the first photograph is explained"

typed make app
: >"$account/app.log"
set -m # a process group of its own, as a terminal makes one
as_new_user make app >"$account/app.log" 2>&1 &
app=$!
set +m
until grep -q '^the page: ' "$account/app.log"; do
    kill -0 "$app" 2>/dev/null || { cat "$account/app.log"; exit 1; }
    sleep 0.2
done
cat "$account/app.log"
curl -sf "http://localhost:$page/" >/dev/null
report "the page answers"
stop
if curl -sf "http://localhost:$page/" >/dev/null; then echo "the page was not stopped" >&2; exit 1; fi

since=$SECONDS
as_new_user make clean >/dev/null
rm "my photo.jpg" "my photo_explained.png" # the user's own files
left=$(git clean -ndx)
test -z "$left" || { echo "make clean has left: $left" >&2; exit 1; }
printf '\n%d commands, %d s in all\n' "$commands" $((SECONDS - started))
