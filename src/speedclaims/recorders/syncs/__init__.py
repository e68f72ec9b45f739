"""Count host-device synchronizations."""
