#!/usr/bin/env bash
# Runs the tests of the Python package on a machine with a GPU and prints a short table.
#
#   tests/gpu/run_python.sh [LOG_DIR]
#
# The package must be importable by python3 ($PYTHON), built for it and with the CUDA backend; torch
# and pytest too, and for the transformers hook transformers. pytest-xdist makes it quicker.
# The CPU's tests of the operations run on CUDA tensors (GDN_TEST_DEVICE); tests/python/gpu is the
# GPU's own. flash-linear-attention is a second oracle where it is installed or FLA_PATH names a
# folder that has it; so are the Triton kernels of vLLM where VLLM_PATH names a folder that has its
# sources in vllm/.
set -uf
cd "$(dirname "$0")/../.."
logs=${1:-build/gpu-logs}
python=${PYTHON:-python3}
mkdir -p "$logs"
status=0

why=$("$python" -c 'import torch, pytest, gdn
if "cuda" not in [b["name"] for b in gdn.info()["backends"]]: raise SystemExit("no CUDA backend in " + gdn.__file__)
if not torch.cuda.is_available(): raise SystemExit("torch finds no GPU")' 2>&1) || {
  echo "the Python tests cannot run with $python: $(tail -n 1 <<<"$why")"
  exit 1
}
parallel=$("$python" -c 'import xdist' 2>/dev/null && echo "-n")

# suite NAME WORKERS VARIABLES.. -- PATHS..
suite() {
  local name=$1 workers=$2 variables=()
  shift 2
  while [ "$1" != -- ]; do variables+=("$1") && shift; done
  shift
  env ${variables[@]+"${variables[@]}"} "$python" -m pytest -v -p no:cacheprovider --tb=short \
    ${parallel:+$parallel $workers} "$@" >"$logs/python_$name.log" 2>&1
  echo $? >"$logs/python_$name.status"
}

# report NAME: a suite none of whose tests ran is no success.
report() {
  local log="$logs/python_$1.log" code last passed skipped seconds
  code=$(cat "$logs/python_$1.status")
  last=$(tail -n 1 "$log")
  passed=$(grep -oE '[0-9]+ passed' <<<"$last" | grep -oE '[0-9]+')
  skipped=$(grep -oE '[0-9]+ skipped' <<<"$last")
  seconds=$(grep -oE '[0-9]+\.[0-9]+s' <<<"$last" | cut -d. -f1)
  [ "${passed:-0}" != 0 ] || code=1
  [ "$code" = 0 ] || status=1
  printf '%-34s %-5s %6s passed %4s s%s\n' "python $1" "$([ "$code" = 0 ] && echo ok || echo FAIL)" \
    "${passed:-0}" "${seconds:-?}" "${skipped:+, $skipped}"
  grep -E '^(FAILED|ERROR)' "$log" | head -20
}

operations=()
for name in cases states stages layer torch routes properties; do
  operations+=("tests/python/test_$name.py")
done
fla_path="PYTHONPATH=${PYTHONPATH:-}${FLA_PATH:+:$FLA_PATH}"
suites=(operations errors transformers gpu)
suite operations 6 GDN_TEST_DEVICE=cuda -- "${operations[@]}" &
suite errors 2 GDN_TEST_DEVICE=cuda GDN_CHECK=1 -- tests/python/test_errors.py tests/python/test_conv_forms.py &
suite transformers 3 GDN_TEST_DEVICE=cuda -- tests/python/integrations &
suite gpu 5 -- tests/python/gpu --ignore tests/python/gpu/test_gpu_fla.py &
if env "$fla_path" "$python" -c 'import fla' 2>/dev/null; then
  suites+=(fla)
  suite fla 0 "$fla_path" -- tests/python/gpu/test_gpu_fla.py &
else
  echo 'the tests beside flash-linear-attention did not run: it is not installed, see FLA_PATH'
fi
wait
for name in "${suites[@]}"; do report "$name"; done
exit $status
