#!/bin/sh
# Makes the virtual environment DIR from requirements.txt unless it is there already, and prints the
# path of its python: `PYTHON=$(tests/e2e/python/venv.sh DIR)`.
#
# It may run several times at once: the first one works, the others wait. TIMESINK_PYTHON names the
# python to build it from (default: python3). Needs flock of util-linux.
set -eu

dir=${1:?usage: venv.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
base=${TIMESINK_PYTHON:-python3}

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir.lock"
flock 9

examples=$here/../../../examples
wanted=$("$base" --version && cat "$here"/*.txt "$examples"/*/requirements.txt | sha256sum)
stamp=$dir/requirements.stamp
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    if [ -n "$(ls -A "$dir")" ] && [ ! -e "$dir/pyvenv.cfg" ]; then
        echo "venv.sh: \`$dir\` holds something else than a virtual environment" >&2
        exit 2
    fi
    rm -f "$stamp"
    {
        "$base" -m venv --clear "$dir"
        "$dir/bin/python" -m pip install --quiet --disable-pip-version-check \
            -r "$here/requirements.txt"
    } >&2
    printf '%s\n' "$wanted" >"$stamp"
fi
echo "$dir/bin/python"
