"""How the miniature came to be: training, evaluation, curves; not part of the installed program."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ttt3r_viewer.errors import ViewerError, in_a_line


def exit_code(work: Callable[[], object]) -> int:
    """Do a command's work: 0, or 2 where a `ViewerError` ended it, which is said in a line, or 130
    after Ctrl-C, or a SIGTERM that was taken for it.
    """
    try:
        work()
    except ViewerError as error:
        print(f"error: {in_a_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
