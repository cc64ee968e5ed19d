#!/usr/bin/env bash
# Installs a wheel as its user would, into an empty environment in another folder, and tries it:
# calls from NumPy (and from torch), the gdn command, a program in C and one in C++.
#
#   tests/wheel/run.sh [--torch] PYTHON FOLDER_OF_WHEELS
set -euo pipefail
with_torch=no
if [ "${1:-}" = --torch ]; then
  with_torch=yes
  shift
fi
python=$(realpath -s "$(command -v "${1:?PYTHON}")")
wheels=$(realpath "${2:?FOLDER_OF_WHEELS}")
here=$(realpath "$(dirname "$0")")
root=$(realpath "$here/../..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Nothing of the repository or of this environment is in sight.
unset PYTHONPATH LD_LIBRARY_PATH
export PYTHONNOUSERSITE=1
cd "$work"

"$python" -m venv env
pip() { env/bin/python -m pip install -q --disable-pip-version-check "$@"; }
echo "== $("$python" --version): NumPy alone"
pip numpy
pip --no-index --find-links "$wheels" gdn
env/bin/python "$here/calls.py" numpy

echo "== the gdn command"
env/bin/gdn info
env/bin/gdn verify --case ladder | tail -n 1

echo "== programs in C and C++"
include=$(env/bin/python -c 'import gdn; print(gdn.get_include())')
library=$(env/bin/python -c 'import gdn; print(gdn.get_library_dir())')
for compiler in "cc -std=c11" "c++ -std=c++20"; do
  source=$root/tests/consumer/project/consumer.c
  [ "${compiler%% *}" = cc ] || source=${source}c
  # shellcheck disable=SC2086
  $compiler -Wall -Werror "$source" -I"$include" -L"$library" -lgdn -Wl,-rpath,"$library" -o program
  ./program
done

if [ "$with_torch" = yes ]; then
  echo "== with torch"
  pip -c "$root/constraints.txt" torch
  env/bin/python "$here/calls.py" torch
fi
echo "== $("$python" --version): the wheel works"
