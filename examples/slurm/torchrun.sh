#!/bin/bash
# One training over several nodes: sbatch --nodes=2 torchrun.sh train.py --epochs 10
#SBATCH --job-name=training
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --output=torchrun.log
# Two minutes before its time is up the training is asked to stop, and saves itself.
#SBATCH --signal=TERM@120
set -euo pipefail
first=${FIRST_NODE:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}
exec srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "${RANKS_PER_NODE:-1}" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:${PORT:-29500}" "$@"
