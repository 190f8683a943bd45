#!/bin/bash
#SBATCH --job-name=dsm
#SBATCH --ntasks=4
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=USR1@120
#
# One job on Slurm, a file or a whole scan, submitted from the top folder of the program:
#   sbatch [--ntasks=P] [--time=…] jobs/slurm.sh [INPUT.yaml OUT [options of dsm run]]
# OUT is a file, or a folder where the input has a scan. Without arguments: the quickstart.
# Starts OUT, or goes on with it where it is there already. Before its time ends (USR1 goes to the ranks) it
# leaves a checkpoint and requeues itself, until OUT is finished. SWEEPS=N in the environment extends OUT.
# Load here the modules (compiler, MPI, HDF5) that the program was built with.
set -euo pipefail

(($#)) || set -- inputs/quickstart.yaml "results/quickstart-$SLURM_JOB_ID.h5"
input=$1
output=${2:?where to: sbatch jobs/slurm.sh INPUT.yaml OUT}
mkdir -p "$(dirname "$output")"

export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1   # one thread per rank: BLAS must not start more
export OMPI_MCA_mpi_yield_when_idle=1             # matters only where ranks share cores

say() { echo "$(date '+%F %T') job $SLURM_JOB_ID: $*"; }
how_far() { dsm status "$output" --json - 2>/dev/null | grep -E '"(phase|sweep)":' || true; }

# Not every Slurm tells a job when it ends; dsm looks for it here (nothing: no time limit).
: "${SLURM_JOB_END_TIME:=$(squeue -h -j "$SLURM_JOB_ID" -o %e | date -f - +%s 2>/dev/null || true)}"
export SLURM_JOB_END_TIME

if [[ -f $output || -f $output/scan.json ]]; then
    what=(dsm resume "$output" ${SWEEPS:+--sweeps "$SWEEPS"})
else
    what=(dsm run "$input" -o "$output" "${@:3}")
fi
before=$(how_far)
say "start ${SLURM_RESTART_COUNT:-0} on $SLURM_JOB_NODELIST, $SLURM_NTASKS ranks: ${what[*]}"

# --wait: when one rank has left, for whatever reason, Slurm ends the others after so many seconds.
# (--kill-on-bad-exit would end them at once, and turn the exit code of a stop into that of a kill.)
code=0
srun --kill-on-bad-exit=0 --wait=30 "${what[@]}" || code=$?

case $code in
0) say "finished" ;;
2) say "bad input: see above; not requeued" ;;
75)
    if [[ $(how_far) == "$before" ]]; then
        say "stopped without a sweep done: its time is too short; not requeued"
    elif say "stopped with a checkpoint: requeued" && scontrol requeue "$SLURM_JOB_ID"; then
        sleep 60   # Slurm ends this script
    else
        say "could not be requeued: submit it again, and it goes on"
    fi
    ;;
*) say "failed with exit code $code: see above; not requeued. Submitted again, it goes on" ;;
esac
exit "$code"
