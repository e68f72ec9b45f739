"""Name the types of JSON that another program or process made, before anything is known of its form."""

from typing import Any

Json = Any
"""A value of JSON."""

JsonObject = dict[str, Any]
"""An object of JSON."""
