#!/bin/bash
#PBS -N dsm
#PBS -l select=1:ncpus=4:mpiprocs=4
#PBS -l walltime=01:00:00
#PBS -j oe
#
# One job on PBS, submitted from the top folder of the program; PBS passes no arguments, so they are variables:
#   qsub [-l select=…] [-v INPUT=inputs/depth_scan.yaml,OUTPUT=results/depth_scan] jobs/pbs.sh
# OUTPUT is a file, or a folder where the input has a scan. Without variables: the quickstart.
# Starts OUTPUT, or goes on with it where it is there already. Before its time ends it leaves a checkpoint and
# submits itself again, with the same resources, until OUTPUT is finished. SWEEPS=N extends OUTPUT. For a copy
# of this script: SCRIPT=its path. What your site wants besides -l (a project, a queue), write above.
# Load here the modules (compiler, MPI, HDF5) that the program was built with.
set -euo pipefail
cd "${PBS_O_WORKDIR:-.}"

export SCRIPT=${SCRIPT:-jobs/pbs.sh} SWEEPS=${SWEEPS:-}
export INPUT=${INPUT:-inputs/quickstart.yaml}
[[ $INPUT != inputs/quickstart.yaml ]] || OUTPUT=${OUTPUT:-results/quickstart-${PBS_JOBID:-local}.h5}
export OUTPUT=${OUTPUT:?where to: qsub -v INPUT=…,OUTPUT=… jobs/pbs.sh}
mkdir -p "$(dirname "$OUTPUT")"

export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1   # one thread per rank: BLAS must not start more
# Open MPI notices a lost host after a minute and a half, not after ten minutes.
export OMPI_MCA_oob_tcp_keepalive_time=30 OMPI_MCA_oob_tcp_keepalive_intvl=10 OMPI_MCA_oob_tcp_keepalive_probes=6

say() { echo "$(date '+%F %T') job ${PBS_JOBID:-local}: $*"; }
how_far() { dsm status "$OUTPUT" --json - 2>/dev/null | grep -E '"(phase|sweep)":' || true; }

# The same again: what was asked for, as qstat tells it (it folds long lines).
again=(qsub -v "INPUT,OUTPUT,SWEEPS,SCRIPT" ${PBS_O_QUEUE:+-q "$PBS_O_QUEUE"})
walltime=$(sed -n 's/^#PBS -l walltime=//p' "$0")
while IFS='=' read -r name value; do
    again+=("-l$name=$value")
    [[ $name != walltime ]] || walltime=$value
done < <(qstat -f "${PBS_JOBID:-}" 2>/dev/null | sed -e ':a;N;$!ba;s/\n\t//g' |
    sed -nE 's/^ *Resource_List\.(select|place|nodes|walltime) = /\1=/p')

# One rank per line of the node file; without PBS (a trial run) one rank per core.
if [[ -n ${PBS_NODEFILE:-} ]]; then
    launch=(mpirun -n "$(wc -l < "$PBS_NODEFILE")" -hostfile "$PBS_NODEFILE")
else
    launch=(mpirun -n "$(env -u OMP_NUM_THREADS nproc)")
fi

if [[ -f $OUTPUT || -f $OUTPUT/scan.json ]]; then
    what=(dsm resume "$OUTPUT" ${SWEEPS:+--sweeps "$SWEEPS"})
else
    what=(dsm run "$INPUT" -o "$OUTPUT")
fi
before=$(how_far)

# The time that is left, less half a minute for what comes before and after.
IFS=: read -r hours minutes seconds <<< "$walltime"
left=$((10#$hours * 3600 + 10#$minutes * 60 + 10#$seconds - SECONDS - 30))
((left > 0)) || { say "walltime=$walltime is too short: more than half a minute is needed"; exit 2; }
what+=(--walltime "$(printf '%02d:%02d:%02d' $((left / 3600)) $((left % 3600 / 60)) $((left % 60)))")
say "${launch[*]} ${what[*]}"

# USR1 (qsig -s SIGUSR1) is handed on: a checkpoint, and a new job. After TERM (qdel) there is no new job. PBS
# sends it to mpirun as well, which then kills the ranks after so many seconds instead of one (and waits about
# twice as long whenever ranks leave with an exit code, so these seconds must be few).
export OMPI_MCA_odls_base_sigkill_timeout=5
ended=
"${launch[@]}" "${what[@]}" </dev/null &
mpirun=$!
trap 'signalled=yes; kill -USR1 "$mpirun"' USR1
trap 'signalled=yes ended=yes; kill -USR1 "$mpirun"' TERM INT

# A signal ends `wait`, not mpirun: wait again.
while true; do
    signalled=
    wait "$mpirun" && code=0 || code=$?
    [[ $signalled ]] || break
done

if [[ $ended ]] && ((code)); then
    say "ended from outside: not submitted again. Do it, and it goes on"
    exit "$code"
fi
case $code in
0) say "finished" ;;
2) say "bad input: see above; not submitted again" ;;
75)
    if [[ $(how_far) == "$before" ]]; then
        say "stopped without a sweep done: its time is too short; not submitted again"
    elif new=$("${again[@]}" "$SCRIPT"); then
        say "stopped with a checkpoint: goes on as job $new"
    else
        say "could not be submitted again: do it, and it goes on"
    fi
    ;;
*) say "failed with exit code $code: see above; not submitted again. Do it, and it goes on" ;;
esac
exit "$code"
