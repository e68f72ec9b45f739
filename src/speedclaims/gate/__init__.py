"""The gate: compare a run's speedups with those of an earlier run."""
