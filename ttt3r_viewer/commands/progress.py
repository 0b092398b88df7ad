"""The progress bar of the commands."""

from rich import progress


def progress_bar(*fields: str) -> progress.Progress:
    """A bar with the task's description, so many of how many, the time left, and these fields, each
    in the form `{task.fields[name]}`.
    """
    description, *more = (
        progress.TextColumn(text, markup=False) for text in ("{task.description}", *fields)
    )
    count, left = progress.MofNCompleteColumn(), progress.TimeRemainingColumn()
    return progress.Progress(description, progress.BarColumn(), count, left, *more)
