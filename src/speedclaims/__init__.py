"""Judge whether an optimized program is faster, by how much, and whether it still computes the same.

The package is a pytest plugin: the ``pair``, ``compare`` and ``figure`` fixtures, the ``speedup_...`` markers, the
``--speedup-...`` options, and the ``speedclaims`` command. The names in ``__all__`` are public; importing the package
imports none of their modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from speedclaims.errors import SpeedclaimsError

if TYPE_CHECKING:
    from speedclaims.claims.ledger import Claim
    from speedclaims.claims.verdict import Verdict
    from speedclaims.direct import compare, pair
    from speedclaims.fixtures.comparison import Comparison
    from speedclaims.fixtures.pair import Pair, Result
    from speedclaims.record.io import read as load_record

__all__ = [
    "Claim",
    "Comparison",
    "Pair",
    "Result",
    "SpeedclaimsError",
    "Verdict",
    "__version__",
    "compare",
    "load_record",
    "pair",
]

__version__ = "0.1.0"

_WHERE = {
    "Claim": ("speedclaims.claims.ledger", "Claim"),
    "Comparison": ("speedclaims.fixtures.comparison", "Comparison"),
    "compare": ("speedclaims.direct", "compare"),
    "pair": ("speedclaims.direct", "pair"),
    "Pair": ("speedclaims.fixtures.pair", "Pair"),
    "Result": ("speedclaims.fixtures.pair", "Result"),
    "Verdict": ("speedclaims.claims.verdict", "Verdict"),
    "load_record": ("speedclaims.record.io", "read"),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)
