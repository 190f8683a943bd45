#!/usr/bin/env bash
# Builds the kernels with GCC's sanitizers, beside the ordinary ones, and runs the kernel's tests on them: no access
# beyond an array, no undefined arithmetic (wrapping sums are meant: -fwrapv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1"
DSM_MARCH="${DSM_MARCH-native}" .venv/bin/python setup.py -q build --build-lib build/sanitized --build-temp build/sanitized-objects
# Python itself is not instrumented, so the library comes first; what Python keeps at its end is no leak of ours.
export LD_PRELOAD="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libstdc++.so)"
export ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=build/sanitized
.venv/bin/python -P -c 'import dsm_hpc; assert "sanitized" in dsm_hpc.__file__, dsm_hpc.__file__'
exec .venv/bin/pytest "${@:-tests/test_kernel_against_oracle.py}" --timeout 1200
