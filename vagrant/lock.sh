#!/bin/bash
# Pins what pyproject.toml asks for, with everything below it: requirements.lock is what runs,
# requirements-dev.lock also what checks. Neither names a package index or a path of a machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pip_tools='pip-tools==7.6.2'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$pip_tools"

compile() {
    local lock=$1
    shift
    echo '# For Python 3.11. "make lock" makes this from pyproject.toml.' >"$folder/$lock"
    CUSTOM_COMPILE_COMMAND='make lock' "$folder/venv/bin/pip-compile" --quiet --upgrade \
        --strip-extras --allow-unsafe --annotation-style=line --no-header \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
        --output-file="$folder/compiled" "$@" pyproject.toml
    cat "$folder/compiled" >>"$folder/$lock"
    rm "$folder/compiled"
}

compile requirements.lock
compile requirements-dev.lock --extra=dev --constraint="$folder/requirements.lock"
sed -i 's/-c [^ ,]*requirements.lock, //' "$folder/requirements-dev.lock"
cp "$folder/requirements.lock" "$folder/requirements-dev.lock" .
