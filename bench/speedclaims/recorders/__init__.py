"""What surrounds the times: memory, the machine and its settings."""
