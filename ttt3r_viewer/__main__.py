"""`python -m ttt3r_viewer` is `ttt3r-view`."""

import sys

from ttt3r_viewer.cli import main

sys.exit(main())
