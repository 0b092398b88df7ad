"""What has been seen so far, in numpy: filled by the worker, read by the viewer."""

from ttt3r_viewer.scene.store import FramePoints, LaneScene, SceneSnapshot, SceneStore, SeenFrame

__all__ = ["FramePoints", "LaneScene", "SceneSnapshot", "SceneStore", "SeenFrame"]
