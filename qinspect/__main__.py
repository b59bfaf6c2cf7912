"""`python -m qinspect` is the command `qinspect`."""

import sys

from qinspect.cli import main

sys.exit(main())
