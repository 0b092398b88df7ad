"""Maps, a file per frame and kind, in folders as the published demo names them.

Beside its npy files the depth is also written as 16-bit PNG in millimetres.
"""

from pathlib import Path

import numpy as np

from ttt3r_viewer.export.conventions import depth_mm, image_name, prepared_pinhole, write_png
from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.lane_source import Source, StepCount

FOLDERS = ("depth", "conf", "color", "camera")
OWN = ("depth/*.npy", "depth/*.png", "conf/*.npy", "color/*.png", "camera/*.npz")


def export_depth(folder: Path, source: Source, _: Choices, progress: StepCount) -> int:
    """Write `depth/000000.npy` and so on, numbered as in the recording; the number of frames.

    `depth` (height, width) float32 is z in the camera's frame, as the network gave it, `conf`
    likewise, `color` the prepared image, and `camera` holds `pose` (4, 4) T_world_camera and
    `intrinsics` (3, 3) in pixels with the centre of the first at (0, 0).
    """
    for name in FOLDERS:
        (folder / name).mkdir()
    progress.expect(len(source))
    count = 0
    for result in source.frames(progress.step):
        stem, image = f"{result.sequence:06d}", image_name(result.sequence)
        depth = result.points_camera[..., 2].astype(np.float32)
        np.save(folder / "depth" / f"{stem}.npy", depth)
        write_png(folder / "depth" / image, depth_mm(depth))
        np.save(folder / "conf" / f"{stem}.npy", result.confidence.astype(np.float32))
        write_png(folder / "color" / image, result.image)
        np.savez(
            folder / "camera" / f"{stem}.npz",
            pose=result.camera.T_world_camera,
            intrinsics=prepared_pinhole(result.camera).matrix,
        )
        count += 1
    return count


DEPTH = Format(
    "maps per frame: depth (npy, 16-bit PNG in mm), conf, color, camera (npz)",
    "maps",
    export_depth,
    lambda source, _: 13 * source.pixel_count() + 4096 * 5 * len(source),
    own=OWN,
)
