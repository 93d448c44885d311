#!/bin/sh
# Make a virtual environment with a Python that edfv_ros supports; install what Debian leaves out, as root, or say it.
set -eu
venv=$1

for candidate in python3.12 python3.11 python3.10 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))'; then
        python=$candidate
        break
    fi
done
if [ -z "${python:-}" ]; then
    echo "edfv_ros needs Python 3.10 to 3.12 (found: $(python3 --version 2>&1)); install one, e.g. python3.12" >&2
    exit 2
fi

missing=""
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing $python-venv"
[ -n "$(ldconfig -p 2>/dev/null | grep libatomic.so.1 || find /usr/lib -name 'libatomic.so.1' 2>/dev/null)" ] ||
    missing="$missing libatomic1"
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing system packages:$missing"
        apt-get update -qq
        # shellcheck disable=SC2086 # one word per package
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing
    else
        echo "edfv_ros needs these system packages:$missing; run: sudo apt-get install$missing" >&2
        exit 2
    fi
fi

echo "Making $venv with $("$python" --version) ..."
"$python" -m venv "$venv"
