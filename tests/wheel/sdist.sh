#!/usr/bin/env bash
# Builds a wheel out of a source archive, in another folder, and tries it: without CUDA and with the
# generic instruction set alone, since what is asked here is whether all files are there.
#
#   tests/wheel/sdist.sh PYTHON ARCHIVE
#
# PYTHON has the packages of requirements/build.txt.
set -euo pipefail
python=$(realpath -s "$(command -v "${1:?PYTHON}")")
archive=$(realpath "${2:?ARCHIVE}")
here=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps -w "$work" \
  --config-settings=cmake.define.GDN_CUDA=OFF \
  --config-settings=cmake.define.GDN_CPU_GENERIC_ONLY=ON "$archive"
"$here/run.sh" "$python" "$work"
