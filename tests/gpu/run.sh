#!/usr/bin/env bash
# Runs all tests of the CUDA backend on a machine with a GPU and prints a short table.
#
#   tests/gpu/run.sh [--no-python] BUILD_DIR [quick|full] [LOG_DIR]
#
# The programs of the CPU tests run against the GPU through libgdn_gpu_mirror.so; gpu_test is the
# GPU's own. Then compute-sanitizer, and the Python tests (run_python.sh, which says what they need),
# unless --no-python leaves them out.
#
# The last line is "all ok" or names what failed, and the exit status says the same.
#
# GDN_RACECHECK_LIBRARY names a libgdn.so built with -DGDN_CUDA_RACECHECK=ON, for racecheck
# of the Hopper kernel. pack.sh makes an archive of all this for a machine without the sources.
set -uf

with_python=yes
if [ "${1:-}" = --no-python ]; then
  with_python=no
  shift
fi
build=$(realpath "${1:?usage: run.sh [--no-python] BUILD_DIR [quick|full] [LOG_DIR]}") || exit 1
mode=${2:-quick}
logs=$(realpath -m "${3:-$build/gpu-logs}")
case $mode in quick | full) ;; *)
  echo "run.sh: expected quick or full, found $mode"
  exit 2
  ;;
esac
mkdir -p "$logs"
failed=()

card=$(nvidia-smi --format=csv,noheader --query-gpu=name,driver_version,clocks.sm,clocks.mem 2>&1) ||
  { echo "run.sh: nvidia-smi finds no GPU: $card"; exit 1; }
IFS=, read -r name driver sm memory <<<"$card"
printf '%s, %s, driver%s, SM clock%s, memory clock%s\n' \
  "$(date '+%Y-%m-%d %H:%M')" "$name" "$driver" "$sm" "$memory"

# log NAME: where its output goes.
log() { echo "$logs/$(tr -c 'a-zA-Z0-9_\n' _ <<<"$1").log"; }

# run NAME COMMAND...: leaves the output, the exit status and the seconds.
run() {
  local begin=$SECONDS file
  file=$(log "$1")
  shift
  "$@" >"$file" 2>&1
  echo "$? $((SECONDS - begin))" >"$file.status"
}

# report NAME...: where no test ran, that is no success.
report() {
  local name file code seconds passed verdict
  for name in "$@"; do
    file=$(log "$name") verdict=ok
    read -r code seconds <"$file.status"
    passed=$(grep -oE 'PASSED  \] [0-9]+' "$file" | grep -oE '[0-9]+$' || echo 0)
    if [ "$code" != 0 ] || [ "$passed" = 0 ]; then verdict=FAIL; fi
    printf '%-34s %-5s %6s passed %4s s\n' "$name" $verdict "$passed" "$seconds"
    [ $verdict = FAIL ] || continue
    failed+=("$name")
    grep -E '^\[  FAILED|gpu mirror|error' "$file" | head -20
  done
}

gpu_test="$build/tests/gpu/gpu_test"
run gpu_test "$gpu_test" --gtest_filter='-AsynchronousError.*' --gtest_brief=1
run gpu_test_GDN_CHECK env GDN_CHECK=1 "$gpu_test" --gtest_filter='*Contents*' --gtest_brief=1
run gpu_test_GDN_NO_SPLIT env GDN_NO_SPLIT=1 "$gpu_test" --gtest_filter='Split.Environment*' --gtest_brief=1
run gpu_test_async_error "$gpu_test" --gtest_filter='AsynchronousError.*' --gtest_brief=1
report gpu_test gpu_test_GDN_CHECK gpu_test_GDN_NO_SPLIT gpu_test_async_error

# The CPU tests' programs side by side: what they wait for is the reference on the host.
# On a GPU the gated norm of fused_gdn_decode sums in double precision, that of rms_norm_gated does not.
mirrored=('layer_test *' 'recurrent_test *' 'fused_decode_test *'
  'decode_steps_test -*FloatCallsAreTheOperationsOneByOne*')
for suite in small quick $([ "$mode" = full ] && echo full); do
  mirrored+=("chunk_test $suite.*" "stage_test $suite.*")
done
for name in "${mirrored[@]}"; do
  run "$name" env LD_PRELOAD="$build/tests/gpu/libgdn_gpu_mirror.so" GDN_TEST_BACKEND=cuda \
    "$build/tests/${name% *}" --gtest_filter="${name#* }" --gtest_brief=1 &
done
# Some of this one's calls are to be refused for what an index array holds.
run 'conv_pool_test GDN_CHECK' env LD_PRELOAD="$build/tests/gpu/libgdn_gpu_mirror.so" GDN_CHECK=1 \
  GDN_TEST_BACKEND=cuda "$build/tests/conv_pool_test" --gtest_brief=1 &
wait
report "${mirrored[@]}" 'conv_pool_test GDN_CHECK'

# sanitizer NAME TOOL FILTER [VARIABLE=VALUE]
sanitizer() {
  run "$1" env ${4:+"$4"} compute-sanitizer --tool "$2" --error-exitcode 9 "$gpu_test" \
    --gtest_filter="$3" --gtest_brief=1
  report "$1"
}
if command -v compute-sanitizer >/dev/null; then
  subset='*AlignmentDoesNotMatter*:*WildIndices*:*OneGraphOfAll*'
  sanitizer memcheck memcheck "$subset"
  sanitizer initcheck initcheck "$subset"
  sanitizer synccheck synccheck "$subset"
  sanitizer racecheck racecheck '*OneGraphOfAll/sm80:*AlignmentDoesNotMatter/sm80'
  # The Hopper kernel's barriers in a form that racecheck follows (docs/kernels.md).
  if [ -n "${GDN_RACECHECK_LIBRARY:-}" ]; then
    sanitizer racecheck_sm90a racecheck \
      '*Invariance.RunToRun/sm90a*:*AlignmentDoesNotMatter/sm90a*' \
      "LD_PRELOAD=$GDN_RACECHECK_LIBRARY"
  else
    echo 'racecheck of the Hopper kernel did not run: set GDN_RACECHECK_LIBRARY'
  fi
else
  echo 'compute-sanitizer was not found: memcheck, initcheck, synccheck and racecheck did not run'
  failed+=(compute-sanitizer)
fi

if [ $with_python = yes ]; then
  "$(dirname "$0")/run_python.sh" "$logs" || failed+=(python)
else
  echo 'the Python tests did not run: --no-python'
fi

if [ ${#failed[@]} != 0 ]; then
  echo "FAILED: ${failed[*]}"
  exit 1
fi
echo 'all ok'
