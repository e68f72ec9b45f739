"""Code that the PyTorch families share."""
