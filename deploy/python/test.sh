#!/bin/sh
# Tests the companion in a virtual environment of its own: `deploy/python/test.sh DIR [PYTEST...]`.
# Without arguments DIR is what TIMESINK_VENV says. What follows DIR goes to pytest.
#
# DIR is made from requirements-test.txt unless it is there already, which takes a minute. It may
# run several times at once: the first one makes it, the others wait. TIMESINK_PYTHON names the
# python to make it from (default: python3; 3.9 or later). Needs flock of util-linux, a package
# index, and PostgreSQL's `initdb` and `postgres` (Debian: the package `postgresql`).
set -eu

dir=${1:-${TIMESINK_VENV:?usage: test.sh DIR [PYTEST...], or TIMESINK_VENV=DIR test.sh}}
[ $# -eq 0 ] || shift
here=$(cd "$(dirname "$0")" && pwd)
base=${TIMESINK_PYTHON:-python3}

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir.lock"
flock 9

wanted=$(
    "$base" --version
    echo "$here"
    cd "$here"
    cat requirements-test.txt constraints-test.txt pyproject.toml | sha256sum
)
stamp=$dir/requirements.stamp
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    if [ -n "$(ls -A "$dir")" ] && [ ! -e "$dir/pyvenv.cfg" ]; then
        echo "test.sh: \`$dir\` holds something else than a virtual environment" >&2
        exit 2
    fi
    rm -f "$stamp"
    "$base" -m venv --clear "$dir"
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check \
        -r "$here/requirements-test.txt" -c "$here/constraints-test.txt" -e "$here"
    printf '%s\n' "$wanted" >"$stamp"
fi
exec 9>&-

cd "$here"
"$dir/bin/ruff" check .
"$dir/bin/ruff" format --check .
exec "$dir/bin/python" -m pytest "$@"
