"""`ttt3r-view info`: what a recorded session holds, without torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from ttt3r_viewer.commands.parser import Echo
from ttt3r_viewer.commands.session import add_session, open_archive, when_recorded
from ttt3r_viewer.runs.player import ending
from ttt3r_viewer.settings import Settings, flag

DESCRIPTION = "Print what a recorded session holds."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The session."""
    add_session(parser)


def execute(given: argparse.Namespace, echo: Echo, _warn: Echo) -> int:
    """Print what a session holds. Raises `RecordingError`."""
    for name, value in session_facts(given.session):
        echo(f"{name:<10}{value}")
    return 0


def session_facts(path: Path) -> Iterator[tuple[str, str]]:
    """Give what there is to say about a session, line by line. Raises `RecordingError`."""
    archive = open_archive(path)
    said, status = archive.description, archive.description.status
    first, last = (archive.facts(archive.sequences[k]) for k in (0, -1))
    yield "source", said.source
    yield "recorded", f"{when_recorded(said.started) or 'at an unknown time'}, by {said.program}"
    yield "model", f"{status.model}, on {status.device}"
    for number, lane in enumerate(last["lanes"], start=1):
        reset = f", reset every {lane['reset_every']}" if lane["reset_every"] else ""
        yield f"lane {number}", f"{lane['rule']}{reset}"
    span = f"{first['time_sec']:.2f} to {last['time_sec']:.2f} s"
    skipped = f", {status.skipped} skipped" if status.skipped else ""
    of_total = f" of {status.frames_total}" if status.frames_total else ""
    yield "frames", f"{len(archive)}{of_total}, {span}{skipped}"
    lane, crop = first["lanes"][0], first["crop"]
    original = f"{crop['original_width']} x {crop['original_height']}"
    yield "pictures", f"{lane['width']} x {lane['height']}, from {original}"
    yield "disk", f"{archive.nbytes / 1e6:,.1f} MB of frames in {archive.path}"
    yield "ended", "; ".join(ending(archive)) or "with its last frame"
    yield "damage", archive.note or "none found"
    chosen = changed_settings(said.settings)
    yield "settings", chosen or "all as by default"


def changed_settings(settings: object) -> str:
    """Write the settings of a run that were not the default, as flags."""
    values = dict(settings) if isinstance(settings, dict) else {}
    changed = (
        f"{flag(one.name)} {values[one.name]}"
        for one in fields(Settings)
        if one.name in values and values[one.name] != one.default
    )
    return " ".join(changed)
