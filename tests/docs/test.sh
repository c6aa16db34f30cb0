#!/bin/sh
# Tests the pages in docs/ with their examples: `tests/docs/test.sh VENV BIN [RUN.PY'S ARGUMENTS...]`.
#
# VENV is a virtual environment, made from requirements.txt unless it is there already; BIN is the
# timesink binary. TIMESINK_PYTHON names the python to make it from (default: python3; 3.11 or
# later). Needs bash, a C compiler and a package index.
set -eu

venv=${1:?usage: test.sh VENV BIN} bin=${2:?usage: test.sh VENV BIN}
shift 2
here=$(cd "$(dirname "$0")" && pwd)
base=${TIMESINK_PYTHON:-python3}

wanted=$("$base" --version && sha256sum <"$here/requirements.txt")
if [ "$(cat "$venv/docs.stamp" 2>/dev/null)" != "$wanted" ]; then
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
        echo "test.sh: \`$venv\` is something else than a virtual environment" >&2
        exit 2
    fi
    "$base" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    printf '%s\n' "$wanted" >"$venv/docs.stamp"
fi
failed=0
"$venv/bin/python" "$here/links.py" || failed=1
"$venv/bin/python" "$here/run.py" --bin "$bin" "$@" || failed=1
exit $failed
