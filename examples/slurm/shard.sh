#!/bin/bash
# One shard of the suite: sbatch --array=1-4 shard.sh
#SBATCH --job-name=speedups
#SBATCH --ntasks=1
#SBATCH --output=shard-%a.log
set -euo pipefail
exec pytest --speedup-shard auto --speedup-report "shards/$SLURM_ARRAY_TASK_ID" ${PYTEST_ARGUMENTS:-}
