#!/bin/bash
#SBATCH --job-name=dsm
#SBATCH --ntasks=4
#SBATCH --time=01:00:00
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=USR1@120
#
# The points of a scan side by side, each a job of its own, submitted from the top folder of the program:
#   .venv/bin/dsm validate INPUT.yaml | grep '^# point'           the points, in order, from 1
#   sbatch --array=1-POINTS [--ntasks=P] [--time=…] jobs/slurm_array.sh INPUT.yaml FOLDER [options of dsm run]
# Starts its point, or goes on with it where it is there already. Before its time ends (USR1 goes to the ranks)
# it leaves a checkpoint and requeues itself, until the point is finished. SWEEPS=N in the environment extends.
# Load here the modules (compiler, MPI, HDF5) that the program was built with.
set -euo pipefail

input=${1:?which scan: sbatch --array=1-POINTS jobs/slurm_array.sh INPUT.yaml FOLDER}
folder=${2:?where to: sbatch --array=1-POINTS jobs/slurm_array.sh INPUT.yaml FOLDER}
point=${SLURM_ARRAY_TASK_ID:?submit with --array=1-POINTS}
job=${SLURM_ARRAY_JOB_ID}_$point   # not SLURM_JOB_ID: that of one task means all of them
mkdir -p "$(dirname "$folder")"

export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1   # one thread per rank: BLAS must not start more
export OMPI_MCA_mpi_yield_when_idle=1             # matters only where ranks share cores

say() { echo "$(date '+%F %T') job $job: $*"; }
# dsm status tells two lines, sweep and phase, for each point of the scan.
how_far() {
    dsm status "$folder" --json - 2>/dev/null | grep -E '"(phase|sweep)":' |
        sed -n "$((2 * point - 1)),$((2 * point))p" || true
}

# Not every Slurm tells a job when it ends; dsm looks for it here (nothing: no time limit).
: "${SLURM_JOB_END_TIME:=$(squeue -h -j "$job" -o %e | date -f - +%s 2>/dev/null || true)}"
export SLURM_JOB_END_TIME

if [[ -f $folder/scan.json ]]; then   # other points may have begun before; this one or not
    what=(dsm resume "$folder" --point "$point" ${SWEEPS:+--sweeps "$SWEEPS"})
else
    what=(dsm run "$input" -o "$folder" --point "$point" "${@:3}")
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
    elif say "stopped with a checkpoint: requeued" && scontrol requeue "$job"; then
        sleep 60   # Slurm ends this script
    else
        say "could not be requeued: submit it again, and it goes on"
    fi
    ;;
*) say "failed with exit code $code: see above; not requeued. Submitted again, it goes on" ;;
esac
exit "$code"
