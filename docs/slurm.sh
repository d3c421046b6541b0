#!/bin/bash
# A search on SLURM: sbatch --nodes 4 docs/slurm.sh SPEC OUT DATA. The spec has `executor: {kind: ray, address: auto}`.
# The same command continues a search that ended, by its time limit for example.
#SBATCH --job-name=stdc-search
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=12:00:00
set -euo pipefail

# One process starts on each node. On the first one it also starts the search, when all nodes have joined.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export RAY_AUTH_MODE=token   # once before: ray get-auth-token --generate
srun ray symmetric-run --address "$first:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" -- \
    stdc-search run "$1" --out "$2" --data-root "$3"
