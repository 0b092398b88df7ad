"""The program's entry: `ttt3r-view`, or `python -m ttt3r_viewer`."""

import os
import signal
import sys


def main() -> int:
    """Run the command line; also a Ctrl-C while it is being imported ends without a traceback."""
    leaves_work_behind = False
    try:
        from ttt3r_viewer.system.signals import hear_every_ctrl_c

        hear_every_ctrl_c()
        from ttt3r_viewer import cli

        code = cli.main()
        leaves_work_behind = cli.leaves_work_behind()
    except KeyboardInterrupt:
        code = 130
    # All is written: what is left is to take leave, which a late Ctrl-C would garble.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if leaves_work_behind:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
