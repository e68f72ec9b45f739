"""``python -m speedclaims`` is the ``speedclaims`` command."""

import sys

from speedclaims.cli import main

sys.exit(main())
