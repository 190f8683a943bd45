#!/bin/bash
#SBATCH --job-name=dsm
#SBATCH --ntasks=4
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.log
#
# One job on Slurm, submitted from the top folder of the program:
#   sbatch [--ntasks=P] [--time=…] jobs/slurm.sh [INPUT.yaml OUT [options of dsm run]]
# OUT is a file, or a folder where the input has a scan. Without arguments: the quickstart.
# Load here the modules (compiler, MPI, HDF5) that the program was built with.
set -euo pipefail

(($#)) || set -- inputs/quickstart.yaml "results/quickstart-$SLURM_JOB_ID.h5"
input=$1
output=${2:?where to: sbatch jobs/slurm.sh INPUT.yaml OUT}
mkdir -p "$(dirname "$output")"

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1   # one thread per rank: BLAS must not start more
export OMPI_MCA_mpi_yield_when_idle=1             # matters only where ranks share cores

srun .venv/bin/dsm run "$input" -o "$output" "${@:3}"
