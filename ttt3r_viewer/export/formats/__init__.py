"""What a format of exports is.

Every module here defines one or a few as a `Format`; `export/known_formats.py` lists them by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ttt3r_viewer.export.film.film import Film
from ttt3r_viewer.export.lane_source import Source, StepCount, Thinning


@dataclass(frozen=True)
class Choices:
    """What a user may choose of an export; each format uses some of it."""

    thinning: Thinning = field(default_factory=Thinning)
    film: Film = field(default_factory=Film)

    def points_at_most(self, source: Source) -> int:
        """Upper bound of how many points are written."""
        pixels, most = source.pixel_count(), self.thinning.max_points
        return pixels if most is None else min(pixels, most)


Write = Callable[[Path, Source, Choices, StepCount], int]
"""Writes to an empty file or into an empty folder; gives how many things (`Format.unit`) it wrote.
What `StepCount` raises ends it.
"""
Size = Callable[[Source, Choices], int]
"""Gives how many bytes will be written at most."""


@dataclass(frozen=True)
class Format:
    """One format."""

    words: str
    """What people call it: Web page."""
    summary: str
    """What it holds, for the help and the page."""
    target: str
    """What its file or folder is called where no name is given."""
    write: Write
    size: Size
    unit: str = "frames"
    own: tuple[str, ...] = ()
    """Patterns of what a folder holds; empty where the format is a file."""
    thins: bool = False
    """Whether `Thinning` means anything to it."""
    film: frozenset[str] = frozenset()
    """Which fields of `Film` mean anything to it."""
    max_points: int | None = None
    """How many points are taken where the user names no number."""
    min_confidence_percentile: float = 0.0
    """Share of the least sure points, in percent, that is left out where the user names none."""

    @property
    def label(self) -> str:
        """Its name in words, and what it writes: `Web page (.html)`."""
        return f"{self.words} ({'folder' if self.own else Path(self.target).suffix})"

    def named(self, path: Path) -> Path:
        """The path that is written where this one was asked for: a file that has no suffix gets
        the format's own.
        """
        given = self.own or path.suffix or path.name in ("", "..") or path.is_dir()
        return path if given else path.with_name(path.name + Path(self.target).suffix)
