"""Measure two callables: rounds in alternation, statistics, and passes in fresh processes."""
