"""The program's entry: `ttt3r-view`, or `python -m ttt3r_viewer`."""

import sys


def main() -> int:
    """Run the command line; also a Ctrl-C while it is being imported ends without a traceback."""
    try:
        from ttt3r_viewer import cli

        return cli.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
