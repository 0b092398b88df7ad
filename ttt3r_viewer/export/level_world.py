"""What turns a lane's world until it is level, for exports that `--up gravity` asks for."""

from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.geometry import upright_axes
from ttt3r_viewer.scene.gravity import UpEstimator
from ttt3r_viewer.scene.seen import summarize_frame
from ttt3r_viewer.types import Camera

if TYPE_CHECKING:
    from ttt3r_viewer.export.lane_source import Source

WorldUp = Literal["camera", "gravity"]
"""What a written world stands upright by: the first camera's frame, or gravity."""
MOST_FRAMES, FRAME_POINTS = 64, 2000
"""Up is estimated from so many frames, and so many points of each."""


def make_level(source: "Source") -> None:
    """Turn a source's world about its origin until y points down along gravity, and the first
    camera's view has no part along x.

    Up is that of the whole lane, whatever the stride; a note says where it is a guess.
    """
    recording, ups, cameras = source.recording, UpEstimator(), list[Camera]()
    sequences = recording.sequences
    for number, sequence in enumerate(sequences):
        with suppress(RecordingError):  # whoever reads it for the export says so
            cameras.append(recording.camera(sequence, source.lane).camera)
            if number % -(-len(sequences) // MOST_FRAMES) == 0:
                ups.add(summarize_frame(recording.lane(sequence, source.lane), FRAME_POINTS, 1))
    if not cameras:
        return
    up, seen = ups.estimate(cameras)
    source.T_level_world = level_transform(up)
    if not seen:
        source.leave_out("up is guessed from how the camera was held: no floor or wall told it")


def level_transform(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give T_level_world (4, 4) of a unit vector up (3,) in the world: up becomes -y."""
    right, up, ahead = upright_axes(up, np.array([0.0, 0.0, 1.0]))
    T_level_world = np.eye(4)
    T_level_world[:3, :3] = right, -up, ahead
    return T_level_world
