"""`python -m q2mm_accel.cli`: the command, where its script is not on the path."""

import sys

from q2mm_accel.cli import main

sys.exit(main())
