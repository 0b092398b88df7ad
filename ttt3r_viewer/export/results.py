"""What `run` leaves behind: poses_tum.txt, intrinsics.json, points.ply, run.json."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ttt3r_viewer import __version__
from ttt3r_viewer.export.folder import whole_file
from ttt3r_viewer.export.ply import write_ply
from ttt3r_viewer.export.trajectory import write_intrinsics, write_tum
from ttt3r_viewer.scene.store import SceneSnapshot

OWN_FILES = ("poses_tum.txt", "intrinsics.json", "points.ply", "run.json")
"""All that is ever written or replaced in an output folder."""


def write_results(
    folder: Path, scene: SceneSnapshot, settings: dict[str, Any], timing: dict[str, float]
) -> None:
    """Write what has been reconstructed so far, file by file, each whole.

    `settings` and `timing` (seconds by name) go into run.json as they are. Raises `OutputError`.
    """
    write_tum(folder / "poses_tum.txt", scene.frames)
    write_intrinsics(folder / "intrinsics.json", scene.frames)
    points = write_ply(folder / "points.ply", [frame.points for frame in scene.frames])
    report = {
        "program": f"ttt3r-viewer {__version__}",
        "settings": settings,
        "status": asdict(scene.status),
        "frames": len(scene.frames),
        "points": points,
        "points_per_frame_at_most": scene.layout.points_per_frame,
        "resets": scene.frames[-1].segment if scene.frames else 0,
        "timing": timing,
        "versions": _versions(),
    }
    with whole_file(folder / "run.json") as file:
        file.write(json.dumps(report, indent=1).encode("ascii"))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("torch", "numpy", "viser", "pillow", "av", "safetensors"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # built into the system without metadata
            versions[package] = "unknown"
    return versions
