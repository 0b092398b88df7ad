"""Render a demo sequence: `python -m training.demo --out DIR --seed 3019`.

Writes numbered JPEGs, with `--depth-every N` their depth as 16-bit PNGs in millimetres and its
pinhole (`depth/camera.json`), and `poses_tum.txt` with the true cameras (camera to world, OpenCV
axes; the world is the first camera). The room is of the test seeds, so that no model has been
trained or chosen on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ttt3r_viewer.geometry import quaternion_wxyz_from_matrix
from ttt3r_viewer.synthetic.scenes import render_clips

FPS = 30.0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.demo", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=3019)
    parser.add_argument("--motion", default="loop")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--quality", type=int, default=80, help="of the JPEGs")
    parser.add_argument("--depth-every", type=int, help="also write the depth of every N-th pixel")
    parser.add_argument("--step-scale", type=float, default=1.0)
    given = parser.parse_args(arguments)
    clip = render_clips(
        [given.seed],
        given.frames,
        given.height,
        given.width,
        device="cpu",
        motion=given.motion,
        step_scale=given.step_scale,
    )
    given.out.mkdir(parents=True, exist_ok=True)
    images = (clip.images[0] * 255).round().byte().numpy()
    lines = ["# time_sec tx ty tz qx qy qz qw: camera to world, x right, y down, z forward"]
    for number, (image, pose) in enumerate(
        zip(images, clip.T_world_camera[0].double().numpy(), strict=True)
    ):
        Image.fromarray(image).save(given.out / f"{number:04d}.jpg", quality=given.quality)
        if every := given.depth_every:
            depth_mm = clip.depth[0, number, every // 2 :: every, every // 2 :: every] * 1000
            (given.out / "depth").mkdir(exist_ok=True)
            path = given.out / "depth" / f"{number:04d}.png"
            Image.fromarray(depth_mm.round().numpy().astype(np.uint16)).save(path)
        w, x, y, z = quaternion_wxyz_from_matrix(pose[:3, :3])
        numbers = np.array([*pose[:3, 3], x, y, z, w])
        lines.append(f"{number / FPS:.6f} " + " ".join(f"{value:.7g}" for value in numbers))
    if every := given.depth_every:
        centre = [(side // 2 - every // 2) / every for side in (given.width, given.height)]
        pinhole = {"focal_px": float(clip.focal_px[0]) / every, "center_px": centre}
        (given.out / "depth" / "camera.json").write_text(json.dumps(pinhole) + "\n")
    (given.out / "poses_tum.txt").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
