"""What the commands that read a recorded session share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.recording.reader import Recording


def add_session(parser: argparse.ArgumentParser) -> None:
    """The folder of the session."""
    parser.add_argument("session", type=Path, metavar="DIR", help="what a run's --output named")


def open_archive(path: Path) -> Recording:
    """Find a session's frames. Raises `RecordingError`, also where there is not one frame."""
    archive = Recording.open(path)
    if not len(archive):
        why = f" ({archive.note})" if archive.note else ""
        raise RecordingError(f"{path}: a session without a frame{why}; give another one")
    return archive


def when_recorded(started: str) -> str:
    """Write a time in ISO 8601, UTC, for people."""
    return started.replace("T", " ").replace("+00:00", " UTC")
