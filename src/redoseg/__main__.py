"""`python -m redoseg` is the command."""

import sys

from redoseg.cli import main

sys.exit(main())
