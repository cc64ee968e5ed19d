#!/bin/sh
# Fuzzes the C interface. Usage: run.sh BUILD_FOLDER [SECONDS]
set -eu

build=$(realpath "$1")
seconds=${2:-60}
corpus=$build/corpus
mkdir -p "$corpus"
export UBSAN_OPTIONS=print_stacktrace=1
exec "$build/tests/fuzz/abi_fuzz" "$corpus" -max_total_time="$seconds" -max_len=512 -timeout=20 \
  -rss_limit_mb=2048 -artifact_prefix="$build/" -print_final_stats=1 -print_funcs=0
