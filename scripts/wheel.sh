#!/usr/bin/env bash
# Builds wheels into dist/: one for each Python before 3.12 that is found, and one with the stable
# ABI for 3.12 and everything later. The library is compiled once. Each wheel is then tried.
#
#   scripts/wheel.sh
#
#   WHEEL_PYTHONS  interpreters, in place of those that are found on the PATH and in pyenv
#   WHEEL_CUDA     ON (default) or OFF
#   WHEEL_BUILD    the build tree; default build/release, which `make cuda` has filled
#   NVCC           the CUDA compiler
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
build=${WHEEL_BUILD:-build/release}
cuda=${WHEEL_CUDA:-ON}
work=build/wheel
limit=$((25 * 1000 * 1000))

# describe PYTHON: "minor path" of a CPython 3.10 or later that extensions can be built for.
describe() {
  "$1" -c 'import os, sys, sysconfig
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
good = sys.version_info >= (3, 10) and sys.implementation.name == "cpython"
good = good and not sysconfig.get_config_var("Py_GIL_DISABLED") and os.path.exists(header)
print(sys.version_info.minor, os.path.realpath(sys.executable)) if good else sys.exit(1)' 2>/dev/null
}

# found: the interpreters to build for, one a line. The first from 3.12 on serves all later ones.
found() {
  local candidates python
  read -ra candidates <<<"${WHEEL_PYTHONS:-}"
  if [ ${#candidates[@]} -eq 0 ]; then
    mapfile -t candidates < <(
      type -aP python3 python3.{10..19} 2>/dev/null || true
      ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3 2>/dev/null || true
    )
  fi
  for python in "${candidates[@]}"; do
    describe "$python" || [ -z "${WHEEL_PYTHONS:-}" ] ||
      echo "$python: no CPython 3.10 or later with headers" >&2
  done | sort -n -k 1,1 -u | awk '$1 < 12 || !stable++ { print $2 }'
}

mapfile -t pythons < <(found)
if [ ${#pythons[@]} -eq 0 ]; then
  echo "No Python 3.10 or later with headers was found; set WHEEL_PYTHONS." >&2
  exit 1
fi

rm -rf "$work/raw" "$work/dist"
options=(
  "build-dir=$build" "build.targets=gdn;gdn_command;gdn_python"
  cmake.define.GDN_BUILD_TESTS=ON cmake.define.GDN_STATIC_LIBSTDCXX=ON "cmake.define.GDN_CUDA=$cuda"
)
[ "$cuda" = OFF ] || options+=("cmake.define.CMAKE_CUDA_COMPILER=${NVCC:?}")
for python in "${pythons[@]}"; do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  echo "== wheel for Python $version ($python)"
  env=$work/python$version
  [ -x "$env/bin/python" ] || "$python" -m venv "$env"
  "$env/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt \
    -r requirements/build.txt
  # What CMake found for another interpreter does not hold for this one. Objects stay.
  rm -f "$build/CMakeCache.txt"
  "$env/bin/python" -m pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps \
    -w "$work/raw/$version" "${options[@]/#/--config-settings=}" .
  auditwheel repair -w "$work/dist" "$work/raw/$version"/*.whl
done

mkdir -p dist
rm -f dist/gdn-*
for wheel in "$work"/dist/*.whl; do
  size=$(stat -c %s "$wheel")
  echo "== $(basename "$wheel"): $size bytes"
  if [ "$size" -ge "$limit" ]; then
    echo "A wheel has to stay under $limit bytes." >&2
    exit 1
  fi
  cp "$wheel" dist/
done
.venv/bin/python -m build --sdist --no-isolation -o dist . >/dev/null

# torch comes for the Python of .venv, which has it already.
own=$(realpath .venv/bin/python)
for python in "${pythons[@]}"; do
  torch=()
  [ "$python" != "$own" ] || torch=(--torch)
  tests/wheel/run.sh "${torch[@]}" "$python" "$work/dist"
done
echo "== source archive"
tests/wheel/sdist.sh "$env/bin/python" dist/gdn-*.tar.gz
