#!/bin/bash
#PBS -N dsm
#PBS -l select=1:ncpus=4:mpiprocs=4
#PBS -l walltime=01:00:00
#PBS -j oe
#
# One job on PBS, submitted from the top folder of the program; PBS passes no arguments, so they are variables:
#   qsub [-l select=…] [-v INPUT=inputs/depth_scan.yaml,OUTPUT=results/depth_scan] jobs/pbs.sh
# OUTPUT is a file, or a folder where the input has a scan. Without variables: the quickstart.
# Load here the modules (compiler, MPI, HDF5) that the program was built with.
set -euo pipefail
cd "${PBS_O_WORKDIR:-.}"

input=${INPUT:-inputs/quickstart.yaml}
[[ -n ${INPUT:-} ]] || OUTPUT=${OUTPUT:-results/quickstart-${PBS_JOBID:-local}.h5}
output=${OUTPUT:?where to: qsub -v INPUT=…,OUTPUT=… jobs/pbs.sh}
mkdir -p "$(dirname "$output")"

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1   # one thread per rank: BLAS must not start more

# One rank per line of the node file; without PBS (a trial run) one rank per core.
if [[ -n ${PBS_NODEFILE:-} ]]; then
    mpirun -n "$(wc -l < "$PBS_NODEFILE")" -hostfile "$PBS_NODEFILE" .venv/bin/dsm run "$input" -o "$output"
else
    mpirun -n "$(env -u OMP_NUM_THREADS nproc)" .venv/bin/dsm run "$input" -o "$output"
fi
