"""Time the phases of a call: data, transfer, forward, backward, optimizer, synchronization."""
