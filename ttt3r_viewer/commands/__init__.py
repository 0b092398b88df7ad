"""One file per command of the command line; `cli.py` finds them by their names.

Each has a `COMMAND` (`parser.Command`): what it does, which options it takes, and the function that
executes it. What a command needs is imported when it needs it.
"""
