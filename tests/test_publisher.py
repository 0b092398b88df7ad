"""How often the page is brought up to date."""

import time
from collections.abc import Callable
from dataclasses import replace

from tests.waiting import wait_for
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer import publisher as publisher_module
from ttt3r_viewer.viewer.publisher import Publisher
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ViewControls


class Counted(Part):
    """Counts how often it was due."""

    count = 0

    def update(self, tick: Tick) -> None:
        self.count, self.last = self.count + 1, tick


def test_a_page_on_which_nothing_happens_is_seldom_due_and_at_once_when_something_does(
    server, monkeypatch
):
    monkeypatch.setattr(publisher_module, "IDLE_AFTER_SEC", 0.3)
    monkeypatch.setattr(publisher_module, "IDLE_TICK_SEC", 60.0)
    store, controls, part = SceneStore(), ViewControls(), Counted()
    publisher = Publisher(store, controls, [part], server.gui.add_html(""))

    def is_idle() -> bool:
        before = part.count
        time.sleep(0.5)
        return part.count == before

    changes: list[Callable[[], object]] = [
        lambda: controls.change(color_by="height"),
        lambda: store.set_status(Status(phase="paused")),
        lambda: setattr(publisher, "report", "The disk is full"),
        publisher.wake,
    ]
    publisher.start()
    try:
        for change in changes:
            wait_for(is_idle, "rest")
            before = part.count
            change()
            wait_for(lambda before=before: part.count > before, "a tick")
        # What goes by the clock alone never rests.
        controls.change(show=replace(controls.settings.show, replaying=True))
        assert not any(is_idle() for _ in range(3))
    finally:
        publisher.stop()
