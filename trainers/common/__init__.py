"""Code that all families share, of no framework."""
