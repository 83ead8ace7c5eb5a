"""``python -m session_tokens``: the command line, where the script ``session-tokens`` is not on the path."""

import sys

from .cli.main import main

sys.exit(main())
