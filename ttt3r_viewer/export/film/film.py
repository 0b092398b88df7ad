"""What a user chooses of a film or a growing recording, and how long and large it becomes."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.recording.tour import TOUR_FILE, Tour, read_tour

CameraPath = Literal["orbit", "follow", "keyframes"]
LONGEST_SIDE_PX, SHORTEST_SIDE_PX = 8192, 16
SECONDS = 10.0
"""How long a film or recording is where nothing says so."""
MOST_FRAMES = 100_000
MOST_STEPS = 200
"""A recording grows in so many steps at most: every node of a scene costs the browser time."""


@dataclass(frozen=True)
class Film:
    """How a film is taken. Raises `SettingsError` where a value is out of range."""

    path: CameraPath = "orbit"
    width: int = 1280
    height: int = 720
    fps: int = 30
    seconds: float | None = None
    """None: as long as the tour, or `SECONDS`."""
    grow: bool = True
    """The cloud grows as the frames came; else all of it is there from the start."""
    point_px: int | None = None
    """Side of a point's square; None: one pixel for every 360 rows, and at least 2."""
    tour: Path | None = None
    """The keyframes; None: those in the recording's folder."""

    def __post_init__(self) -> None:
        if self.path not in get_args(CameraPath):
            raise SettingsError(
                f"--path {self.path}: take one of {', '.join(get_args(CameraPath))}"
            )
        size = f"--size {self.width}x{self.height}"
        short, long = sorted((self.width, self.height))
        if short < SHORTEST_SIDE_PX or long > LONGEST_SIDE_PX:
            raise SettingsError(f"{size}: take {SHORTEST_SIDE_PX} to {LONGEST_SIDE_PX} pixels")
        if self.width % 2 or self.height % 2:
            even = f"{self.width // 2 * 2}x{self.height // 2 * 2}"
            raise SettingsError(f"{size}: films need even numbers; take {even}")
        if not 1 <= self.fps <= 120:
            raise SettingsError(f"--fps {self.fps}: take 1 to 120")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise SettingsError(f"--seconds {self.seconds:g}: take more than 0")
        if self.seconds is not None and self.seconds * self.fps > MOST_FRAMES:
            raise SettingsError(
                f"--seconds {self.seconds:g}: at {self.fps} frames per second these are more than "
                f"{MOST_FRAMES:,} images; take fewer"
            )
        if self.point_px is not None and not 1 <= self.point_px <= 32:
            raise SettingsError(f"--point-size {self.point_px}: take 1 to 32 pixels")
        if self.tour is not None and self.path != "keyframes":
            raise SettingsError(f"--tour {self.tour}: only --path keyframes follows it")

    @property
    def square_px(self) -> int:
        """Side of a point's square."""
        return self.point_px or max(2, round(self.height / 360))

    @property
    def line_px(self) -> int:
        """Width of the cameras' lines."""
        return max(1, round(self.height / 480))


def size_from_text(text: str) -> tuple[int, int]:
    """Read `1280x720`. Raises `SettingsError`."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise SettingsError(f"--size {text}: wanted width and height in pixels, such as 1280x720")
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
