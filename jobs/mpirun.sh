#!/bin/bash
# Plain mpirun, on a workstation or a node without a batch system, from the top folder of the program:
#   jobs/mpirun.sh RANKS INPUT.yaml OUT [options of dsm run]
# OUT is a file, or a folder where the input has a scan. Starts OUT, or goes on with it where it is there
# already; SWEEPS=N in the environment extends it. To stop with a checkpoint (exit code 75): Ctrl-C, or
# `kill` of this script; a second Ctrl-C stops at once.
set -euo pipefail

ranks=${1:?how many: jobs/mpirun.sh RANKS INPUT.yaml OUT}
input=${2:?of what: jobs/mpirun.sh RANKS INPUT.yaml OUT}
output=${3:?where to: jobs/mpirun.sh RANKS INPUT.yaml OUT}
mkdir -p "$(dirname "$output")"

export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1   # one thread per rank: BLAS must not start more
# Open MPI notices a lost host after a minute and a half, not after ten minutes.
export OMPI_MCA_oob_tcp_keepalive_time=30 OMPI_MCA_oob_tcp_keepalive_intvl=10 OMPI_MCA_oob_tcp_keepalive_probes=6

if [[ -f $output || -f $output/scan.json ]]; then
    what=(dsm resume "$output" ${SWEEPS:+--sweeps "$SWEEPS"})
else
    what=(dsm run "$input" -o "$output" "${@:4}")
fi
echo "mpirun.sh: $ranks ranks: ${what[*]}"

# Asked to stop by TERM or Ctrl-C, mpirun kills the ranks after a second. USR1 it hands on to them, and waits:
# so it stands aside (setsid) where the terminal's Ctrl-C reaches only this script.
interrupts=0
# shellcheck disable=SC2317
ask() {
    signalled=yes
    if [[ $1 == INT ]] && ((++interrupts > 1)); then kill -TERM "$mpirun"; else kill -USR1 "$mpirun"; fi
}
setsid mpirun -n "$ranks" "${what[@]}" </dev/null &
mpirun=$!
for name in INT TERM HUP USR1; do
    # shellcheck disable=SC2064
    trap "ask $name" "$name"
done

# A signal ends `wait`, not mpirun: wait again.
while true; do
    signalled=
    wait "$mpirun" && code=0 || code=$?
    [[ $signalled ]] || break
done
exit "$code"
