#!/bin/bash
#SBATCH --job-name=dsm
#SBATCH --ntasks=4
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.log
#
# One job on Slurm, submitted from the top folder of the program:
#   sbatch [--ntasks=P] [--time=…] jobs/slurm.sh [INPUT.yaml [OUT [options of dsm run]]]
# Load here the modules (compiler, MPI, HDF5) that the program was built with.
set -euo pipefail

input=${1:-inputs/quickstart.yaml}
output=${2:-results/$(basename "$input" .yaml)-$SLURM_JOB_ID.h5}
mkdir -p "$(dirname "$output")"

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1   # one thread per rank: BLAS must not start more
export OMPI_MCA_mpi_yield_when_idle=1             # matters only where ranks share cores

srun .venv/bin/dsm run "$input" -o "$output" "${@:3}"
