"""What the start screen offers: demos, recordings, paths, weights and rules; and what is chosen."""

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import InputError, SettingsError, ViewerError
from ttt3r_viewer.frames.folder import read_image
from ttt3r_viewer.frames.selection import IMAGE_SUFFIXES
from ttt3r_viewer.recording.reader import FOLDER, MANIFEST_FILE, open_recording
from ttt3r_viewer.runs.reconstruction import source_of
from ttt3r_viewer.settings import InputOptions, Settings
from ttt3r_viewer.system import compare_demo
from ttt3r_viewer.system.allowed_folders import AllowedFolders
from ttt3r_viewer.system.assets import DEMO_NAMES, DEMO_PREFIX, demo_path
from ttt3r_viewer.system.files import numbered_name
from ttt3r_viewer.system.text import last_part, printable
from ttt3r_viewer.types import Frame
from ttt3r_viewer.weights.fetch import MINIATURE, RELEASES, locate, weights_folder

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"}
)
WEIGHTS_SUFFIXES = frozenset({".pth", ".safetensors"})
DEMO_TEXTS = {
    "loop": "Round a room and back",
    "walk": "A walk through brick rooms",
    "hand-held": "A camera that shakes",
    compare_demo.NAME: "TTT3R beside CUT3R, on a sequence chosen to show how they differ",
}
DEMO_PICTURES = {"loop": 100, "walk": 20, "hand-held": 180, compare_demo.NAME: 160}
"""The frame that the page shows of each."""
RULES = {
    "TTT3R": "ttt3r",
    "CUT3R": "constant:1.0",
    "TTT3R beside CUT3R": "ttt3r,constant:1.0",
}
"""By the name that the page shows."""
MOST_RECORDINGS = 8
MOST_FOLDERS = 400
"""That are searched for recordings in each allowed folder and below it."""
FIRST_FRAMES = 5
"""Of an input, of which one has to be readable."""


def kept_folder() -> Path:
    """Where what is dropped and recorded from the start screen is kept on this system."""
    import platformdirs

    return platformdirs.user_data_path("ttt3r-viewer", appauthor=False)


class StartOffers:
    """Lists what there is when it is asked, and makes settings of a choice.

    A choice keeps all options of `settings` but those that the page shows.
    """

    videos, images = VIDEO_SUFFIXES, IMAGE_SUFFIXES

    def __init__(self, settings: Settings) -> None:
        """Reads from the working folder and the kept one. With `--output` recordings go there."""
        self._settings = settings
        self._kept = kept_folder()
        self.inputs = self._kept / "inputs"
        output = settings.output.output
        self._recordings = self._kept / "recordings" if output is None else Path(output)
        self.folders = AllowedFolders(Path.cwd(), self._kept, self._recordings)

    def offer(self) -> Mapping[str, Any]:
        """Return demos, recordings, weights, rules and folders, each with the words that it has."""
        return {
            "demos": [self.look_at(DEMO_PREFIX + name) for name in DEMO_NAMES],
            "recordings": self._found_recordings(),
            "weights": self._found_weights(),
            "rules": [{"name": name, "rules": rules} for name, rules in RULES.items()],
            "suffixes": sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES),
            "folders": self.folders.in_words,
            "inputs": str(self.inputs),
            "kept": str(self._recordings),
            "keep": self._settings.output.output is not None,
        }

    def complete(self, text: str) -> list[str]:
        """Return paths inside the allowed folders that begin with a text."""
        return self.folders.complete(text, VIDEO_SUFFIXES | IMAGE_SUFFIXES)

    def look_at(self, given: str) -> dict[str, Any]:
        """Return an input's value, name, text and first image. Raises `ViewerError`."""
        value, options = self._input_of(given)
        with closing(source_of(options)) as source:
            first = itertools.islice(source, FIRST_FRAMES)
            frame = next((one for one in first if isinstance(one, Frame)), None)
            total = source.total
        if frame is None:
            raise InputError(f"none of the first images of {printable(value)} can be read")
        count = "" if total is None else f"{total:,} frames"
        demo = value.removeprefix(DEMO_PREFIX)
        is_demo = value.startswith(DEMO_PREFIX)
        return {
            "value": value,
            "name": demo if is_demo else printable(last_part(value)),
            "text": f"{DEMO_TEXTS[demo]} · {count}" if is_demo else count,
            "image": _picture(demo) if is_demo else frame.image,
            "own": not is_demo,
            "rules": compare_demo.DEFAULTS["rules"] if demo == compare_demo.NAME else None,
        }

    def choose(self, choice: Mapping[str, Any]) -> Settings | Path:
        """Return the settings of a run, or the folder of a recording. Raises `ViewerError`."""
        given = str(choice.get("input", ""))
        if choice.get("recording"):
            path = self.folders.find(given)
            open_recording(path)
            return path
        value, options = self._input_of(given)
        self.look_at(value)
        rules, weights = choice.get("rules"), choice.get("weights")
        if rules not in RULES.values():
            raise SettingsError("the page named rules that it does not offer: load it again")
        if weights not in [one["weights"] for one in self._found_weights()]:
            raise SettingsError("the page named weights that it does not offer: load it again")
        settings = self._settings
        kept = str(self._new_folder(value)) if choice.get("keep") is True else None
        return replace(
            settings,
            input=options,
            rules=replace(settings.rules, rules=rules),
            model=replace(settings.model, weights=weights),
            output=replace(settings.output, output=kept),
        )

    def _input_of(self, given: str) -> tuple[str, InputOptions]:
        """The value of an input that is a demo or lies inside, and the options that read it."""
        options = replace(self._settings.input, poses=None, follow=False)
        if not given.startswith(DEMO_PREFIX):
            given = str(self.folders.find(given))
        elif given == DEMO_PREFIX + compare_demo.NAME and options.max_frames is None:
            options = replace(options, max_frames=compare_demo.DEFAULTS["max_frames"])
        return given, replace(options, input=given)

    def _new_folder(self, value: str) -> Path:
        folder = self._recordings / (Path(value.removeprefix(DEMO_PREFIX)).stem or "input")
        return numbered_name(folder, 2) if folder.exists() else folder

    def _found_weights(self) -> list[dict[str, str]]:
        """The miniature, what was fetched, and what `--weights` names."""
        names = [MINIATURE, *RELEASES, self._settings.model.weights]
        with suppress(OSError):
            released = {one.file_name for one in RELEASES.values()}
            for path in sorted(weights_folder().iterdir()):
                if path.suffix in WEIGHTS_SUFFIXES and path.name not in released:
                    names.append(str(path))
        found = []
        for name in dict.fromkeys(names):
            with suppress(ViewerError):
                size_gb = locate(name).stat().st_size / 1e9
                text = "for the demos" if name == MINIATURE else f"{size_gb:.1f} GB"
                found.append({"weights": name, "name": printable(last_part(name)), "text": text})
        return found

    def _found_recordings(self) -> list[dict[str, Any]]:
        """The latest recordings in the allowed folders, two levels deep."""
        folders: dict[Path, float] = {}
        for folder in self.folders.folders:
            for path in itertools.islice(_folders_below(folder, 2), MOST_FOLDERS):
                with suppress(OSError):
                    folders[path] = (path / FOLDER / MANIFEST_FILE).stat().st_mtime
        latest = sorted(folders, key=lambda path: -folders[path])
        found = []
        for path in latest[: 2 * MOST_RECORDINGS]:
            with suppress(ViewerError, OSError):
                found.append(_described(path))
        return found[:MOST_RECORDINGS]


def _picture(demo: str) -> NDArray[np.uint8]:
    """An image (height, width, 3) RGB of a demo."""
    return read_image(demo_path(demo) / f"{DEMO_PICTURES[demo]:04d}.jpg")


def _folders_below(folder: Path, depth: int) -> Iterator[Path]:
    """A folder and those below it that are not hidden, no links among them."""
    yield folder
    if depth:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    yield from _folders_below(Path(entry.path), depth - 1)


def _described(path: Path) -> dict[str, Any]:
    recording = open_recording(path)
    manifest = recording.manifest
    rules = ", ".join(rule.text for rule in manifest.status.lanes) or manifest.status.rule
    return {
        "value": str(path),
        "name": printable(path.name),
        "text": printable(
            f"{last_part(manifest.source)} · {rules} · {len(recording):,} frames · "
            f"{manifest.started_text.partition(' ')[0]}"
        ),
        "image": recording.image(recording.sequences[0]),
        "recording": True,
    }
