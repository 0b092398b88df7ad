"""What a user chooses of a film or a growing recording, and how long and large it becomes."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.recording.tour import TOUR_FILE, Tour, read_tour
from ttt3r_viewer.system.options import Options, option

CameraPath = Literal["orbit", "follow", "keyframes"]
LONGEST_SIDE_PX, SHORTEST_SIDE_PX = 8192, 16
SECONDS = 10.0
"""How long a film or recording is where nothing says so."""
MOST_FRAMES = 100_000
MOST_STEPS = 200
"""A recording grows in so many steps at most: every node of a scene costs the browser time."""


@dataclass(frozen=True)
class Film(Options):
    """Films (mp4, gif; of these viser and html take --seconds)."""

    path: CameraPath = option("orbit", "how the camera moves")
    size: str = option("1280x720", "width and height in pixels", metavar="WxH")
    fps: int = option(30, "images per second", metavar="N")
    seconds: float | None = option(None, "default: the tour's, or 10", metavar="S")
    growth: bool = option(True, "the cloud grows with the frames; else it is whole from the start")
    point_size: int | None = option(None, "default: as far apart as pixels lie", metavar="PX")
    tour: Path | None = option(None, "keyframes (default: DIR/tour.json)", metavar="FILE")

    def __post_init__(self) -> None:
        super().__post_init__()
        short, long = sorted(self.size_px)
        if short < SHORTEST_SIDE_PX or long > LONGEST_SIDE_PX:
            raise SettingsError(
                f"--size {self.size}: take {SHORTEST_SIDE_PX} to {LONGEST_SIDE_PX} pixels"
            )
        if any(side % 2 for side in self.size_px):
            even = "x".join(str(side // 2 * 2) for side in self.size_px)
            raise SettingsError(f"--size {self.size}: films need even numbers; take {even}")
        if not 1 <= self.fps <= 120:
            raise SettingsError(f"--fps {self.fps}: take 1 to 120")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise SettingsError(f"--seconds {self.seconds:g}: take more than 0")
        if self.seconds is not None and self.seconds * self.fps > MOST_FRAMES:
            raise SettingsError(
                f"--seconds {self.seconds:g}: at {self.fps} frames per second these are more than "
                f"{MOST_FRAMES:,} images; take fewer"
            )
        if self.point_size is not None and not 1 <= self.point_size <= 32:
            raise SettingsError(f"--point-size {self.point_size}: take 1 to 32 pixels")
        if self.tour is not None and self.path != "keyframes":
            raise SettingsError(f"--tour {self.tour}: only --path keyframes follows it")

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height. Raises `SettingsError`."""
        width, cross, height = self.size.lower().partition("x")
        if not (cross and width.isdecimal() and height.isdecimal()):
            raise SettingsError(
                f"--size {self.size}: wanted width and height in pixels, such as 1280x720"
            )
        return int(width), int(height)


def find_tour(film: Film, folder: Path) -> Tour | None:
    """Read the keyframes that a film of the recording in `folder` follows, if it follows any.

    Raises `SettingsError`.
    """
    if film.path != "keyframes":
        return None
    path = film.tour or folder / TOUR_FILE
    if film.tour is None and not path.exists():
        raise SettingsError(
            f"--path keyframes: {folder} holds no {TOUR_FILE}; save one in the page, or name one "
            "with --tour"
        )
    return read_tour(path)


def image_count(film: Film, tour: Tour | None) -> int:
    """How many images a film has; at least one."""
    seconds = film.seconds or (tour.duration_sec if tour is not None else 0) or SECONDS
    return max(1, round(seconds * film.fps))
