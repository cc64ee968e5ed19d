#!/usr/bin/env bash
# Runs the tests of the Python package on a machine with a GPU and prints a short table.
#
#   tests/gpu/run_python.sh [LOG_DIR]
#
# The package must be importable by python3 ($PYTHON), built for it and with the CUDA backend.
# The CPU's tests of the operations run on CUDA tensors (GDN_TEST_DEVICE); tests/python/gpu is the
# GPU's own. flash-linear-attention is a second oracle where FLA_PATH names a folder that has it.
set -uf
cd "$(dirname "$0")/../.."
logs=${1:-build/gpu-logs}
python=${PYTHON:-python3}
mkdir -p "$logs"
status=0
parallel=$("$python" -c 'import xdist' 2>/dev/null && echo "-n")

# suite NAME WORKERS VARIABLES.. -- PATHS..
suite() {
  local name=$1 workers=$2 variables=()
  shift 2
  while [ "$1" != -- ]; do variables+=("$1") && shift; done
  shift
  env ${variables[@]+"${variables[@]}"} "$python" -m pytest -v -p no:cacheprovider --tb=short \
    ${parallel:+$parallel $workers} "$@" >"$logs/$name.log" 2>&1
  echo $? >"$logs/$name.status"
}

operations=()
for name in cases states stages layer torch properties; do
  operations+=("tests/python/test_$name.py")
done
suite operations 6 GDN_TEST_DEVICE=cuda -- "${operations[@]}" &
suite errors 2 GDN_TEST_DEVICE=cuda GDN_CHECK=1 -- tests/python/test_errors.py &
suite transformers 3 GDN_TEST_DEVICE=cuda -- tests/python/integrations &
suite gpu 5 -- tests/python/gpu --ignore tests/python/gpu/test_gpu_fla.py &
suite fla 0 "PYTHONPATH=${PYTHONPATH:-}${FLA_PATH:+:$FLA_PATH}" -- tests/python/gpu/test_gpu_fla.py &
wait
for name in operations errors transformers gpu fla; do
  code=$(cat "$logs/$name.status")
  [ "$code" = 0 ] || status=1
  printf '%-14s %-5s %s\n' "$name" "$([ "$code" = 0 ] && echo ok || echo FAIL)" \
    "$(tail -n 1 "$logs/$name.log")"
  grep -E '^(FAILED|ERROR)' "$logs/$name.log"
done
exit $status
