#!/bin/sh
# Fuzzes the C interface, then the safetensors reader for a quarter of that time.
# Usage: run.sh BUILD_FOLDER [SECONDS]
set -eu

build=$(realpath "$1")
seconds=${2:-60}
export UBSAN_OPTIONS=print_stacktrace=1

fuzz() {
  echo "== fuzzing: $1, $2 s"
  mkdir -p "$build/corpus/$1"
  "$build/tests/fuzz/$1" "$build/corpus/$1" -max_total_time="$2" -max_len=512 -timeout=20 \
    -rss_limit_mb=2048 -artifact_prefix="$build/" -print_final_stats=1 -print_funcs=0
}
fuzz abi_fuzz "$seconds"
fuzz safetensors_fuzz $((seconds / 4))
