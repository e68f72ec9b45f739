"""Code that the TensorFlow family uses."""
