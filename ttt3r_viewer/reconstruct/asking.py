"""Asking the state of every lane what it expects a camera to see; nothing goes on by it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from ttt3r_viewer.geometry import invert_pose, ray_map
from ttt3r_viewer.model.heads import OutputKind
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.device import all_as_numpy
from ttt3r_viewer.reconstruct.loop import LoopState
from ttt3r_viewer.types import Camera, Expectation

EXPECTED: frozenset[OutputKind] = frozenset(("self", "rgb"))


@torch.inference_mode()
def ask(
    network: ReconstructionNetwork,
    moment: LoopState,
    T_world_camera: NDArray[np.float64],
    fov_y_rad: float,
    size: tuple[int, ...],
) -> tuple[Expectation, ...]:
    """What each lane's state expects a camera to see, in pictures of `size` (height, width).

    The camera is in the world that the lanes share, with its principal point in the middle. A state
    knows no world but the frame of the first camera since its last reset, which every lane has
    found for itself: there each is asked.
    """
    height, width = size
    camera = Camera(T_world_camera, height / 2 / math.tan(fov_y_rad / 2), width, height)
    rays = np.stack(
        [
            ray_map(
                Camera(
                    invert_pose(T_world_segment) @ T_world_camera, camera.focal_px, width, height
                )
            )
            for T_world_segment in moment.T_world_segment
        ]
    )
    lanes = torch.from_numpy(rays).to(network.device).permute(0, 3, 1, 2)
    seen = network.query(moment.state, lanes, outputs=EXPECTED)
    points_camera, confidence, rgb = all_as_numpy(seen.points_self, seen.confidence_self, seen.rgb)
    images = (127.5 * (np.nan_to_num(rgb) + 1)).round().astype(np.uint8)
    return tuple(
        Expectation(
            lane=lane,
            sequence=moment.frames - 1,
            camera=camera,
            image=images[lane],
            points_camera=points_camera[lane],
            confidence=confidence[lane],
        )
        for lane in range(len(rays))
    )
