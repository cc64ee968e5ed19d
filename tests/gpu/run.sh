#!/usr/bin/env bash
# Runs the tests of the CUDA backend on a machine with a GPU and prints a short table.
#
#   tests/gpu/run.sh BUILD_DIR [quick|full] [LOG_DIR]
#
# The programs of the CPU tests run against the GPU through libgdn_gpu_mirror.so; gpu_test is the
# GPU's own. Head widths that are multiples of 8 but not of 16 are the CPU backend's alone: gpu_test
# checks that the GPU refuses them, and the cases that have them are left out here.
#
# GDN_RACECHECK_LIBRARY names a libgdn.so built with -DGDN_CUDA_RACECHECK=ON, for racecheck
# of the Hopper kernel.
set -uf

build=${1:?usage: run.sh BUILD_DIR [quick|full] [LOG_DIR]}
mode=${2:-quick}
logs=${3:-$build/gpu-logs}
mkdir -p "$logs"
not_for_gpu='-*dims_8x8*:*dims_24x200*:*dims_96x40*'
status=0

nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv,noheader || exit 1

# report NAME LOG EXIT_STATUS SECONDS
report() {
  local passed
  passed=$(grep -oE 'PASSED  \] [0-9]+' "$2" | grep -oE '[0-9]+$' || echo 0)
  printf '%-34s %-5s %6s passed %4s s\n' "$1" "$([ "$3" = 0 ] && echo ok || echo FAIL)" "$passed" "$4"
  if [ "$3" != 0 ]; then
    status=1
    grep -E '^\[  FAILED|gpu mirror|error' "$2" | head -20
  fi
}

# mirrored PROGRAM FILTER
mirrored() {
  local log start
  log="$logs/$1-$(tr -dc 'a-z0-9_' <<<"$2").log"
  start=$SECONDS
  LD_PRELOAD="$build/tests/gpu/libgdn_gpu_mirror.so" GDN_TEST_BACKEND=cuda \
    "$build/tests/$1" --gtest_filter="$2$not_for_gpu" --gtest_brief=1 >"$log" 2>&1
  report "$1 $2" "$log" $? $((SECONDS - start))
}

# direct NAME COMMAND...
direct() {
  local log start name=$1
  shift
  log="$logs/$name.log"
  start=$SECONDS
  "$@" >"$log" 2>&1
  report "$name" "$log" $? $((SECONDS - start))
}

gpu_test="$build/tests/gpu/gpu_test"
direct gpu_test "$gpu_test" --gtest_filter='-AsynchronousError.*' --gtest_brief=1
direct gpu_test_GDN_CHECK env GDN_CHECK=1 "$gpu_test" --gtest_filter='*Contents*' --gtest_brief=1
direct gpu_test_async_error "$gpu_test" --gtest_filter='AsynchronousError.*' --gtest_brief=1
mirrored layer_test '*'
mirrored decode_test '*'
for suite in small quick $([ "$mode" = full ] && echo full); do
  mirrored fwd_test "$suite.*"
  mirrored stage_test "$suite.*"
done
if command -v compute-sanitizer >/dev/null; then
  # sanitizer TOOL FILTER
  sanitizer() {
    direct "$1" compute-sanitizer --tool "$1" --error-exitcode 9 "$gpu_test" \
      --gtest_filter="$2" --gtest_brief=1
  }
  subset='*AlignmentDoesNotMatter*:*WildIndices*:*OneGraphOfAll*'
  sanitizer memcheck "$subset"
  sanitizer initcheck "$subset"
  sanitizer synccheck "$subset"
  sanitizer racecheck '*OneGraphOfAll/sm80:*AlignmentDoesNotMatter/sm80'
  # The Hopper kernel's barriers in a form that racecheck follows (docs/kernels.md).
  if [ -n "${GDN_RACECHECK_LIBRARY:-}" ]; then
    direct racecheck_sm90a env LD_PRELOAD="$GDN_RACECHECK_LIBRARY" \
      compute-sanitizer --tool racecheck --error-exitcode 9 "$gpu_test" \
      --gtest_filter='*Invariance.RunToRun/sm90a:*AlignmentDoesNotMatter/sm90a' --gtest_brief=1
  else
    echo 'racecheck of the Hopper kernel did not run: set GDN_RACECHECK_LIBRARY'
  fi
else
  echo 'compute-sanitizer was not found: memcheck, initcheck, synccheck and racecheck did not run'
  status=1
fi
exit $status
