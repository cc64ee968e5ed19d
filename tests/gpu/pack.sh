#!/usr/bin/env bash
# Packs what a machine with a GPU needs to run the tests and benchmarks of a build made elsewhere.
#
#   tests/gpu/pack.sh [--no-python] BUILD_DIR ARCHIVE.tar.xz [EXTENSION]
#
# BUILD_DIR was configured with GDN_CUDA=ON and the tests. EXTENSION is the Python extension
# _C.*.so built for the Python of that machine, by default the one in BUILD_DIR/python: it may come
# from another build of the same sources, with or without CUDA, since all it needs of libgdn is the
# C ABI. --no-python leaves the Python package and its tests out. GDN_RACECHECK_LIBRARY is packed as
# well where it is set (run.sh says what it is).
#
# There, in any folder (the arguments of run are those that run.sh has after BUILD_DIR):
#
#   tar xJf ARCHIVE.tar.xz && gdn-gpu/run full
#   LD_LIBRARY_PATH=gdn-gpu/build/src gdn-gpu/build/bench/gpu/gdn_gpu_bench
#   PYTHONPATH=gdn-gpu/python LD_LIBRARY_PATH=gdn-gpu/build/src python3 gdn-gpu/bench/gpu/host_cost.py
set -euo pipefail
shopt -s nullglob

with_python=yes
if [ "${1:-}" = --no-python ]; then
  with_python=no
  shift
fi
usage='usage: pack.sh [--no-python] BUILD_DIR ARCHIVE.tar.xz [EXTENSION]'
build=$(realpath "${1:?$usage}")
archive=$(realpath -m "${2:?$usage}")
extension=("${3:-}")
[ -n "${extension[0]}" ] || extension=("$build"/python/_C.*.so)
cd "$(dirname "$0")/../.."
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
top=$stage/gdn-gpu

# program PATH..: stripped copies under the paths they have in the build folder.
program() {
  local path
  for path in "$@"; do
    install -D "$build/$path" "$top/build/$path"
    strip "$top/build/$path"
  done
}
programs=(src/libgdn.so.0 tests/gpu/libgdn_gpu_mirror.so tests/gpu/gpu_test
  bench/gpu/gdn_gpu_bench tests/{chunk,stage,recurrent,layer,conv_pool,fused_decode,decode_steps}_test)
missing=()
for path in "${programs[@]}"; do
  [ -e "$build/$path" ] || missing+=("$(basename "$path" .so)")
done
if [ ${#missing[@]} != 0 ]; then
  # Target gdn makes libgdn.so.0, every other target a file of its own name.
  missing=("${missing[@]/#libgdn.so.0/gdn}")
  echo "pack.sh: $build is not built whole: cmake --build $build --target ${missing[*]/#lib/}"
  exit 1
fi
program "${programs[@]}"
if [ -n "${GDN_RACECHECK_LIBRARY:-}" ]; then
  install -D "$GDN_RACECHECK_LIBRARY" "$top/build/racecheck/libgdn.so.0"
  strip "$top/build/racecheck/libgdn.so.0"
fi

# Sources as git has them: no caches, no build output.
sources=(tests/gpu/run.sh)
if [ $with_python = yes ]; then
  [ ${#extension[@]} = 1 ] || {
    echo "pack.sh: expected one extension in $build/python, found ${#extension[@]}; name it"
    exit 1
  }
  sources+=(tests/gpu/run_python.sh tests/python cases python/gdn bench/gpu examples models
    pyproject.toml)
fi
git ls-files -z "${sources[@]}" | tar --null -T - -cf - | tar -xf - -C "$top"
option=--no-python
if [ $with_python = yes ]; then
  cp "${extension[0]}" "$top/python/gdn/"
  strip "$top"/python/gdn/_C.*.so
  option=
fi

cat >"$top/run" <<EOF
#!/usr/bin/env bash
# The tests of this archive: run [quick|full] [LOG_DIR].
here=\$(realpath "\$(dirname "\$0")")
# Programs and package find the library here, whatever folders they were built in.
export LD_LIBRARY_PATH="\$here/build/src\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
export PYTHONPATH="\$here/python\${PYTHONPATH:+:\$PYTHONPATH}"
race=\$here/build/racecheck/libgdn.so.0
[ ! -e "\$race" ] || export GDN_RACECHECK_LIBRARY="\$race"
exec "\$here/tests/gpu/run.sh" $option "\$here/build" "\$@"
EOF
chmod +x "$top/run"
# One dictionary over both builds of the library: most of the second is the first again.
tar --sort=name -C "$stage" -cf - gdn-gpu | xz --x86 --lzma2=preset=6,dict=128MiB >"$archive"
ls -l "$archive"
