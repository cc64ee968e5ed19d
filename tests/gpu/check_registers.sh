#!/usr/bin/env bash
# Fails if a kernel of a library keeps anything in local memory (register spills, stack frames)
# beyond what is listed here.
#
#   tests/gpu/check_registers.sh CUOBJDUMP LIBRARY
set -euf -o pipefail

cuobjdump=${1:?usage: check_registers.sh CUOBJDUMP LIBRARY}
library=${2:?usage: check_registers.sh CUOBJDUMP LIBRARY}

# src/cuda/CMakeLists.txt says why: parts of mangled names and the bytes a thread that they may take.
allowed='
sm805chunk12chunk_kernelI6__halfLi128E 56
sm805chunk12chunk_kernelI6__halfLi256ELb0E 8
sm805chunk12chunk_kernelI13__nv_bfloat16Li128ELb0E 32
sm805chunk12chunk_kernelI13__nv_bfloat16Li128ELb1E 24
sm805chunk12chunk_kernelIfLi256ELb0E 96
sm805chunk12chunk_kernelIfLi256ELb1E 104
state_kernelIfLi256ELb0E 48
chain_kernelI6__halfLNS1_4RowsE1E 16
chain_kernelI6__halfLNS1_4RowsE2E 8
chain_kernelI13__nv_bfloat16LNS1_4RowsE1E 16
chain_kernelI13__nv_bfloat16LNS1_4RowsE2E 24
decode_kernelIfLb0ELi2ELb1ELNS1_6PiecesE0ELb0E 8
decode_kernelI6__halfLb0ELi2ELb0E 8
decode_kernelI6__halfLb0ELi1ELb0E 16
decode_kernelI6__halfLb1ELi1ELb0E 8
decode_kernelI13__nv_bfloat16Lb0ELi1ELb0E 16
decode_kernelI13__nv_bfloat16Lb1ELi1ELb0E 8
'

"$cuobjdump" -res-usage "$library" 2>/dev/null | awk -v allowed="$allowed" '
  BEGIN {
    n = split(allowed, line, "\n")
    for (i = 1; i <= n; ++i) if (split(line[i], f, " ") == 2) limit[f[1]] = f[2]
  }
  /^arch = / { arch = $3 }
  /Function / { name = $2 }
  /STACK:/ {
    ++kernels
    bytes = $0
    sub(/.*STACK:/, "", bytes)
    sub(/ .*/, "", bytes)
    most = 0
    for (part in limit) if (index(name, part)) most = limit[part]
    if (bytes + 0 > most + 0) {
      print arch, name, bytes " bytes, allowed " most
      bad = 1
    }
  }
  END {
    print kernels + 0, "kernels"
    exit bad || kernels == 0
  }'
