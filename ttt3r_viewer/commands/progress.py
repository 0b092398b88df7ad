"""The progress bar of the commands."""

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


def progress_bar(*fields: str) -> Progress:
    """A bar with the task's description, so many of how many, the time left, and these fields, each
    in the form `{task.fields[name]}`.
    """
    more = (TextColumn(text, markup=False) for text in fields)
    description = TextColumn("{task.description}", markup=False)
    return Progress(description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), *more)
