#!/usr/bin/env bash
# Installs the system packages that are missing and prints on which MPI the set-up builds:
#   system  Open MPI and parallel HDF5 from the distribution: all ranks write one file (output mode mpio)
#   wheel   MPICH and serial h5py from PyPI: rank 0 writes (output mode gather); on request (DSM_MPI=wheel)
#           or where packages cannot be installed
set -euo pipefail

build=(make gcc libc6-dev python3-dev python3-venv pkg-config)
parallel=(openmpi-bin libopenmpi-dev libhdf5-openmpi-dev)

say() { echo "set-up: $*" >&2; }

missing() {
    local p
    for p; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed* ]] || echo "$p"
    done
}

install() {  # PACKAGE…: 0 when all of them are there in the end; otherwise says why not
    local todo sudo=()
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || { why="no apt here"; return 1; }
    mapfile -t todo < <(missing "$@")
    ((${#todo[@]})) || return 0
    if ((EUID)); then
        sudo=(sudo)
        [[ -t 0 ]] || sudo=(sudo -n)  # nobody there to type a password
        "${sudo[@]}" true 2>/dev/null || { why="not root and no sudo; missing: ${todo[*]}"; return 1; }
    fi
    say "installing ${todo[*]}"
    # A failing update may concern some other source: whether the install works is what counts.
    "${sudo[@]}" apt-get update -qq >&2 || true
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "${todo[@]}" </dev/null >/dev/null ||
        { why="apt-get could not install ${todo[*]}"; return 1; }
}

mpi=${DSM_MPI:-system}
[[ $mpi == system || $mpi == wheel ]] || { say "DSM_MPI=$mpi: allowed are system and wheel"; exit 2; }
if [[ $mpi == system ]] && ! install "${build[@]}" "${parallel[@]}"; then
    say "MPICH and serial h5py from PyPI instead ($why)"
    mpi=wheel
fi
[[ $mpi == system ]] || install "${build[@]}" || true  # what is needed and not there shows below
for command in "${PYTHON:-python3}" cc; do
    command -v "$command" >/dev/null || { say "$command is needed and not there; packages: ${build[*]}"; exit 1; }
done
echo "$mpi"
