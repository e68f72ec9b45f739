"""Judge whether an optimized trainer is faster, by how much, and whether it still computes the same.

The package is a pytest plugin. Its public surface is the ``pair`` and ``figure`` fixtures, the ``claim`` and
``control`` markers, the ``--speedup-...`` options and the ``speedclaims`` command; importing it imports nothing heavy.
"""

__version__ = "0.1.0"
