"""`ttt3r-view info`: what a recording holds, without torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.recording.reader import open_recording
from ttt3r_viewer.runs.player import ending
from ttt3r_viewer.settings import RecordingOptions, Settings, recorded_settings
from ttt3r_viewer.system.options import flag
from ttt3r_viewer.system.terminal import labelled, line_width


def execute(given: Given, echo: Echo, _warn: Echo) -> int:
    """Print what a recording holds. Raises `RecordingError`."""
    for name, value in recording_info(given[RecordingOptions].recording):
        echo("\n".join(labelled(name, value, 10, line_width())))
    return 0


def recording_info(path: Path) -> Iterator[tuple[str, str]]:
    """What is known of a recording, line by line. Raises `RecordingError`."""
    recording = open_recording(path)
    manifest, status = recording.manifest, recording.manifest.status
    first, last = (recording.facts(recording.sequences[k]) for k in (0, -1))
    yield "source", manifest.source
    yield (
        "recorded",
        f"{manifest.started_text or 'at an unknown time'}, by {manifest.program}",
    )
    yield "model", f"{status.model}, on {status.device}"
    for number, lane in enumerate(last["lanes"], start=1):
        reset = f", reset every {lane['reset_every']}" if lane["reset_every"] else ""
        yield f"lane {number}", f"{lane['rule']}{reset}"
    span = f"{first['time_sec']:.2f} to {last['time_sec']:.2f} s"
    skipped = f", {status.skipped} skipped" if status.skipped else ""
    of_total = f" of {status.frames_total}" if status.frames_total else ""
    yield "frames", f"{len(recording)}{of_total}, {span}{skipped}"
    lane, crop = first["lanes"][0], first["crop"]
    original = f"{crop['original_width']} x {crop['original_height']}"
    yield "images", f"{lane['width']} x {lane['height']}, from {original}"
    yield "disk", f"{recording.nbytes / 1e6:,.1f} MB of frames in {recording.path}"
    yield "ended", "; ".join(ending(recording)) or "with its last frame"
    yield "damage", recording.note or "none found"
    chosen = changed_settings(manifest.settings)
    yield "settings", chosen or "all as by default"


def changed_settings(settings: Mapping[str, Any]) -> str:
    """The settings of a run that were not the default, as flags."""
    try:
        given = recorded_settings(settings).as_dict()
    except SettingsError as error:
        return f"damaged ({error})"
    default = Settings().as_dict()
    return " ".join(
        f"{flag(name)} {value}" for name, value in given.items() if value != default[name]
    )


COMMAND = Command("Print what a recording holds.", (RecordingOptions,), execute)
