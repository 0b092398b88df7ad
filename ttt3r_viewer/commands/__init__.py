"""One file per command of the command line; `cli.py` finds them by their names.

Each has `DESCRIPTION`, `add_arguments(parser)` and `execute(given, say, complain)`, which returns
the exit code and raises a `ViewerError` that is one line for the person. `echo` takes a line of the
answer, `warn` a remark beside it. What a command needs is imported when it needs it.
"""
