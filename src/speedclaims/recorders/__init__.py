"""Record the context of the times: memory, GPU, phases, synchronizations, FLOPs, the machine and its settings."""
