#!/usr/bin/env bash
# Builds the kernels with GCC's sanitizers, beside the ordinary ones, for the portable instruction set and the one that
# this machine takes, and runs them at sizes where vectors, words and limbs end: no access beyond an array, no undefined
# arithmetic (wrapping sums are meant: -fwrapv).  Of the copies of the kernel for so many neurons only those that these
# sizes take (DSM_FEW_FORMS).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
DSM_LEVELS="generic $(.venv/bin/python -c 'from dsm_hpc.kernels import build; print(build.SIMD)')"
export DSM_LEVELS DSM_MARCH="${DSM_MARCH-native}" CFLAGS="-fsanitize=address,undefined"
export DSM_CFLAGS="-O1 -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1 -w -DDSM_FEW_FORMS"
.venv/bin/python setup.py -q build --build-lib build/sanitized --build-temp build/sanitized-objects
# Python itself is not instrumented, so the library comes first; what Python keeps at its end is no leak of ours.
export LD_PRELOAD="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libstdc++.so.6)"
export ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=build/sanitized
.venv/bin/python -P -c 'import dsm_hpc; assert "sanitized" in dsm_hpc.__file__, dsm_hpc.__file__'
exec .venv/bin/python -P -m pytest "${@:-tests/test_where_lanes_end.py}"
