#!/usr/bin/env bash
# Runs every command of docs/profiling.md: tests/profiling/test.sh VENV. Makes VENV where it is missing,
# with the newest Python from 3.11 to 3.13 that is here; PYTHON chooses another. TIMESINK is the binary.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="${1:?usage: test.sh VENV}"

newest() {
    local name version
    for name in 3.13 3.12; do
        if "python$name" -c '' 2>/dev/null; then echo "python$name" && return; fi
        # A version that pyenv has, and did not switch on.
        version="$(pyenv versions --bare 2>/dev/null | grep "^$name\." | tail -1 || true)"
        if [ -n "$version" ]; then echo "$(pyenv prefix "$version")/bin/python" && return; fi
    done
    echo python3
}

if [ ! -x "$venv/bin/python" ]; then
    "${PYTHON:-$(newest)}" -m venv "$venv"
fi
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
exec python3 "$here/run.py" "$venv"
