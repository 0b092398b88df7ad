"""Ticks for tests that update one part by themselves."""

from ttt3r_viewer.scene.store import SceneSnapshot, SceneStore
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.tick import Tick
from ttt3r_viewer.viewer.view_settings import ViewSettings


def tick_of(
    scene: SceneStore | SceneSnapshot,
    settings: ViewSettings | None = None,
    now_sec: float = 0.0,
) -> Tick:
    """What the publisher would make of a scene and settings."""
    snapshot = scene.snapshot() if isinstance(scene, SceneStore) else scene
    return Tick(snapshot, settings or ViewSettings(), now_sec)


def status_tick(status: Status, now_sec: float = 0.0) -> Tick:
    """A tick of an empty scene with this status."""
    store = SceneStore()
    store.clear(max(len(status.lanes), 1), status)
    return tick_of(store, now_sec=now_sec)
