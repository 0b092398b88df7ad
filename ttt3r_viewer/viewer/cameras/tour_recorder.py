"""The page's tour: recorded view by view, and kept in the recording's folder where there is one."""

from pathlib import Path

from ttt3r_viewer.errors import OutputError, SettingsError
from ttt3r_viewer.recording.tour import TOUR_FILE, Keyframe, Tour, read_tour, write_tour

NOT_KEPT = "Kept only until the program ends: name a folder with --output to keep it."


class TourRecorder:
    """The keyframes, saved after every change; only callbacks, all on one loop, change it."""

    def __init__(self, folder: Path | None) -> None:
        """Read the tour in the recording's `folder`; None where there is none.

        A file that cannot be read is left as it is: the note says why, and nothing is saved.
        """
        self._path = None if folder is None else folder / TOUR_FILE
        self.tour: Tour | None = None
        """None while there is no keyframe; replaced, never changed."""
        self.note = NOT_KEPT if folder is None else ""
        """Why the tour is not saved; empty where it is."""
        if self._path is not None and self._path.exists():
            try:
                self.tour = read_tour(self._path)
            except SettingsError as error:
                self._path = None
                self.note = f"{error}. That file is left alone: this tour is not saved."

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The views in their order."""
        return () if self.tour is None else self.tour.keyframes

    def keep(self, keyframes: tuple[Keyframe, ...]) -> None:
        """Replace the views, and the file; without a view there is none."""
        self.tour = Tour(keyframes) if keyframes else None
        if self._path is None:
            return
        try:
            if self.tour is None:
                self._path.unlink(missing_ok=True)
            else:
                write_tour(self._path, self.tour)
            self.note = ""
        except OutputError as error:
            self.note = f"not saved: {error}"
        except OSError as error:
            self.note = f"{self._path} could not be removed: {error.strerror}"
