"""What has been seen so far, in numpy: filled by the worker, read by the viewer."""

from ttt3r_viewer.scene.store import FramePoints, FrameSummary, LaneScene, SceneSnapshot, SceneStore

__all__ = ["FramePoints", "FrameSummary", "LaneScene", "SceneSnapshot", "SceneStore"]
