"""`--resume`: which recording an output folder holds, and whether it is what was asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ttt3r_viewer.errors import InputError, RecordingError, SettingsError, ViewerError
from ttt3r_viewer.frames.selection import RepeatableSource
from ttt3r_viewer.frames.source import FrameSource
from ttt3r_viewer.recording.checkpoint import Checkpoint, checkpoint_files
from ttt3r_viewer.recording.reader import Recording, in_words, refill
from ttt3r_viewer.rules.registry import rules_from_text, text_of
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import Settings, recorded_settings
from ttt3r_viewer.system.assets import DEMO_PREFIX, DEMOS
from ttt3r_viewer.system.logs import LOG_FILES
from ttt3r_viewer.system.options import flag
from ttt3r_viewer.types import Frame, SkippedFrame, Status
from ttt3r_viewer.weights.fetch import fingerprint, locate

if TYPE_CHECKING:
    from ttt3r_viewer.reconstruct.session import Lanes
    from ttt3r_viewer.reconstruct.worker import Sink

REPORT = "run.json"
"""Written with a run's last results."""


class RunFinishedError(ViewerError):
    """There is nothing to resume: the run came to its end. No failure, but nothing is done."""


def identity_of(settings: Settings) -> dict[str, Any]:
    """What a run must share with the recording that it resumes, as plain values by setting.

    Size and dtype are compared when the network is loaded, which may choose them. Raises
    `WeightsError` and `RuleError`.
    """
    return _asked_for(settings) | {"weights": fingerprint(locate(settings.model.weights))}


def find_recording(settings: Settings, source: FrameSource) -> "tuple[Resumption | None, str]":
    """What `--resume` continues, and a line that says so; None: the run begins at its beginning.

    Nothing is written. Raises `RunFinishedError`; `RecordingError` where the folder holds
    something else, or a damaged recording; `SettingsError` where the recording is of another run
    than is asked for; `InputError` where the input is live.
    """
    folder = Path(settings.output.output or "")
    if not holds_something(folder):
        return None, f"{folder} holds no recording yet: the run begins at its first frame"
    recording = Recording.open(folder)
    if _is_finished(folder, recording):
        raise RunFinishedError(
            f"{folder}: its run is finished ({len(recording)} frames), so there is nothing to "
            f"resume, and nothing was changed; ttt3r-view open {folder} shows it"
        )
    if not isinstance(source, RepeatableSource):
        raise InputError(
            f"{source.name} is live: what it showed is gone, so no recording of it can be "
            "resumed; leave --resume out and name another --output"
        )
    checkpoint = best_checkpoint(recording, checkpoint_files(recording.path))
    if checkpoint is None:
        recorded = recording.manifest.settings
        if "input" not in recorded:
            raise RecordingError(
                f"{recording.path}: it has no checkpoint and does not say its settings "
                f"({recording.note}); give --overwrite in place of --resume to run it again"
            )
        _compare(folder, _asked_for(recorded_settings(recorded)), _asked_for(settings))
        return None, f"{folder} holds no checkpoint yet: the run begins again at its first frame"
    _compare(folder, checkpoint.identity, identity_of(settings))
    frames = checkpoint.progress.frames
    dropped = len(recording) - frames
    again = f"; {dropped} later ones are read again" if dropped else ""
    return Resumption(recording, checkpoint, source), f"resumed after {frames} frames{again}"


def holds_something(folder: Path) -> bool:
    """Whether more is there than the log of a run that failed at once."""
    try:
        return folder.is_dir() and not {one.name for one in folder.iterdir()} <= set(LOG_FILES)
    except OSError:
        return True  # whoever goes on there is shown why it cannot be


def hint_of(folder: Path) -> str:
    """What the error about a folder that is not empty adds where it holds a recording to resume."""
    try:
        recording = Recording.open(folder)
    except (RecordingError, OSError):
        return ""
    if not len(recording) or _is_finished(folder, recording):
        return ""
    return f", or --resume, which continues its recording of {len(recording)} frames"


def _is_finished(folder: Path, recording: Recording) -> bool:
    return recording.manifest.status.phase == "finished" and (folder / REPORT).exists()


def _asked_for(settings: Settings) -> dict[str, Any]:
    return {
        "input": absolute_input(settings.input.input or f"{DEMO_PREFIX}{DEMOS[0]}"),
        "start": settings.input.start,
        "stride": settings.input.stride,
        "fps": float(settings.input.fps),
        "rules": ",".join(map(text_of, rules_from_text(settings.rules.rules))),
        "reset_every": settings.rules.reset_every,
    }


def absolute_input(given: str) -> str:
    """An input by which it is known anywhere on the machine. Raises `SettingsError`."""
    if given.startswith(DEMO_PREFIX):
        return given
    try:
        return str(Path(given).expanduser().absolute())
    except RuntimeError as error:
        raise SettingsError(f"--input {given}: {error}") from error


def _compare(folder: Path, recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises `SettingsError` that names what differs."""
    differing = [
        f"{flag(name)} (then {recorded.get(name)}, now {now})"
        for name, now in given.items()
        if recorded.get(name) != now
    ]
    if differing:
        raise SettingsError(
            f"--resume: the recording in {folder} was begun with another {', '.join(differing)}; "
            "give what it was begun with, or name another --output"
        )


@dataclass(frozen=True, eq=False)
class Resumption:
    """Where a run is resumed: the recording has all frames that the checkpoint counts."""

    recording: Recording
    checkpoint: Checkpoint
    source: RepeatableSource

    @property
    def frames(self) -> int:
        """Number of frames that were processed."""
        return self.checkpoint.progress.frames

    def resume(
        self,
        store: SceneStore,
        session: "Lanes",
        sinks: "Sequence[Sink]",
        status: Status,
        on_progress: Callable[[str], object],
    ) -> tuple[Status, Iterator[Frame | SkippedFrame]]:
        """Bring session and sinks to where the run was; its status there, and the frames to come.

        Nothing on disk is changed yet. Raises what `Lanes.restore` raises, `RecordingError` where a
        recorded frame is damaged, and `InputError` where the input is not the recorded one.
        """
        session.restore(self.checkpoint.tensors(), self.checkpoint.session, self.recording)
        progress = self.checkpoint.progress
        status = replace(
            session.describe(status),
            frames_done=progress.frames,
            skipped=progress.skipped,
            last_skipped=progress.last_skipped,
        )
        for sink in sinks:
            sink.begin(status, self.recording)
        everything = frozenset(self.recording.sequences)
        for done, _ in enumerate(refill(self.recording, store, everything)):
            on_progress(f"reading recorded frames: {done + 1} of {progress.frames}")
        if len(self.recording) != progress.frames:
            raise RecordingError(
                f"{self.recording.path}: it cannot be resumed ({self.recording.note}); give "
                "--overwrite in place of --resume to run it again"
            )
        return status, self._rest(session)

    def _rest(self, session: "Lanes") -> Iterator[Frame | SkippedFrame]:
        latest = self.recording.facts(self.frames - 1)
        frames = self.source.after(latest["index"] - 1)
        first = next(frames, None)
        if not (isinstance(first, Frame) and first.index == latest["index"]) or not np.array_equal(
            session.prepare(first).image, self.recording.image(self.frames - 1)
        ):
            raise InputError(
                f"{self.source.name}: its frame {latest['index']} is not what was recorded "
                f"({latest['name']}), so the recording cannot be resumed: give the input as it "
                "was, or --overwrite in place of --resume to run it again"
            )
        return (item for item in frames if item.index > self.checkpoint.progress.index)


def best_checkpoint(recording: Recording, paths: Sequence[Path]) -> Checkpoint | None:
    """Read the first that belongs to a recording's run and whose frames are all there.

    Gives None where none was ever written for this run. Raises `RecordingError` where all are
    damaged, or frames are missing.
    """
    reasons = []
    there = frozenset(recording.sequences)
    for path in paths:
        try:
            one = Checkpoint.read(path)
        except RecordingError as error:
            reasons.append(str(error))
            continue
        if one.progress.run == recording.manifest.run:
            # The recording is never asked for more frames than one beyond what it has.
            wanted = range(min(one.progress.frames, len(there) + 1))
            missing = sorted(set(wanted) - there)
            if not missing and one.progress.frames:
                return one
            reasons.append(f"{path}: of the recording's frames it needs {in_words(missing)}")
    if reasons:
        raise RecordingError(
            f"{'; '.join(reasons)}: the recording cannot be resumed; give --overwrite in place "
            "of --resume to run it again"
        )
    return None
