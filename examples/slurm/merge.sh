#!/bin/bash
# One report of all shards: sbatch --dependency=afterany:JOB merge.sh
#SBATCH --job-name=merge-speedups
#SBATCH --ntasks=1
#SBATCH --output=merge.log
set -euo pipefail
shopt -s nullglob
# a shard that was cut off has left record.partial.json
status=0
speedclaims merge shards/*/record*.json -o shards/all.json || status=$?
speedclaims report shards/all.json -o report
exit $status
