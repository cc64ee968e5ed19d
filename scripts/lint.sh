#!/usr/bin/env bash
# Format and lint everything under version control; --fix rewrites what can be rewritten.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
step() { printf '== %s\n' "$*"; }
fail() {
  echo "$*" >&2
  failed=1
}

mapfile -t cxx < <(git ls-files '*.h' '*.hpp' '*.c' '*.cc' '*.cpp' '*.cu' '*.cuh')
ruff=ruff
[ -x .venv/bin/ruff ] && ruff=.venv/bin/ruff

if [ "${1:-}" = --fix ]; then
  clang-format -i "${cxx[@]}"
  "$ruff" format .
  "$ruff" check --fix .
fi

step "clang-format"
clang-format --dry-run --Werror "${cxx[@]}" || fail "Run make format."
step "ruff"
"$ruff" format --check . || fail "Run make format."
"$ruff" check . || fail "ruff found problems."
step "house rules"
python3 scripts/house_rules.py || fail "House rules are broken, see above."
step "clang-tidy (library)"
if [ ! -f build/release/compile_commands.json ]; then
  cmake --preset release >/dev/null || fail "cmake --preset release failed."
fi
# What is for a device's compiler holds every form of every kernel: too much for the analyser.
mapfile -t units < <(git ls-files 'src/api/*.cc' 'src/reference/*.cc' 'src/cpu/*.cc' 'src/ascend/*.cc' \
  ':!src/ascend/device/*.cc')
printf '%s\n' "${units[@]}" |
  xargs -P "$(nproc)" -n 4 clang-tidy -p build/release --quiet 2>/dev/null ||
  fail "clang-tidy found problems."
exit "$failed"
