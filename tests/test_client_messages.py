"""What browsers say: the list of what is passed on, and a hostile client at a whole page."""

import gc
import math
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.sync.connection import Connection

from tests.made_up_run import MadeUpRun, room_result
from tests.page_client import CAMERA, echo, join, set_value
from tests.pages import shown
from tests.waiting import wait_for
from ttt3r_viewer.export.job import Exporter
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.panels.inspect import InspectPanel
from ttt3r_viewer.viewer.panels.look import LookPanel
from ttt3r_viewer.viewer.server.client_messages import (
    FIELDS,
    GUEST_KINDS,
    MAX_BYTES,
    MAX_NUMBER,
    MAX_RENDER_BYTES,
    refusal,
    value_fits,
)

NAN, INF = math.nan, math.inf
POINTER = {
    **{"type": "ScenePointerMessage", "event_type": "click", "modifier": None},
    **{"ray_origin": [0.0, 0.0, 0.0], "ray_direction": [0.0, 0.0, 1.0], "screen_pos": [[0.5, 0.5]]},
}
NODE = {
    **{"type": "SceneNodeClickMessage", "name": "/lanes/0/camera/live", "instance_index": None},
    **{"ray_origin": [0.0, 0.0, 0.0], "ray_direction": [0.0, 0.0, 1.0], "screen_pos": [0.5, 0.5]},
    **{"modifier": None, "owner": ""},
}
ACK = {
    **{"type": "FileTransferPartAck", "source_component_uuid": None, "transfer_uuid": "x"},
    **{"transferred_bytes": 1, "total_bytes": 2},
}
COMMAND = {"type": "CommandTriggerMessage", "uuid": "x"}
RENDER = {"type": "GetRenderResponseMessage", "payload": b"x", "render_uuid": "x"}
VALUES: tuple[Any, ...] = (
    *(NAN, INF, -INF, -1, 0, 0.5, -MAX_NUMBER, MAX_NUMBER, 1e300, 2**63, -(2**63), 10**6),
    *(None, True, False, [], {}, [1, 2], {"a": 1}, b"x", b""),
    *("", "x", "..", "../../etc/passwd", "/etc/passwd", "<img src=x onerror=alert(1)>"),
    *("x" * 50_000, "\x00", "none", "1280x720x", "99999999x99999999"),
)


def nobody(_: str) -> None:
    return None


def encoded(message: object) -> bytes:
    return msgspec.msgpack.encode(message)


@pytest.mark.parametrize("message", [CAMERA, POINTER, NODE, ACK, COMMAND, RENDER])
def test_what_the_page_sends_is_passed_on(message):
    assert refusal(encoded(message), "owner", nobody) == ""


def test_our_list_has_the_fields_that_viser_has():
    from viser import _messages
    from viser.infra._messages import wire_field_names

    for kind, names in FIELDS.items():
        assert set(wire_field_names(getattr(_messages, kind))) == set(names), kind


def test_a_guest_only_moves_the_camera_and_widgets_of_their_own():
    for message in (CAMERA, NODE):
        assert refusal(encoded(message), "guest", nobody) == ""
    for message in (POINTER, ACK, COMMAND, RENDER):
        assert refusal(encoded(message), "guest", nobody) == "a guest only looks"
    assert {"ViewerCameraMessage", "GuiUpdateMessage", "SceneNodeClickMessage"} == GUEST_KINDS
    update = {"type": "GuiUpdateMessage", "uuid": "somebody's", "updates": {"value": True}}
    assert "no widget" in refusal(encoded(update), "guest", nobody)


@pytest.mark.parametrize(
    "kind",
    [
        *("ShareUrlRequest", "ShareUrlDisconnect", "FileTransferStartUpload", "FileTransferPart"),
        *("RunJavascriptMessage", "GuiFormDirtyMessage", "PointCloudMessage", "Message", ""),
        *("SceneNodeDragMessage", "LocalStorageGetItemResponseMessage"),
    ],
)
def test_what_the_page_never_sends_is_dropped(kind):
    why = refusal(encoded({"type": kind, "uuid": "x"}), "owner", nobody)
    assert why == "a kind that the page does not use"


NO_PLACE = ([NAN, 0, 0], [0, 0], "abc", [1e10, 0, 0], CAMERA["look_at"], [0, 0, 1 - 1e-9])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("position", value) for value in NO_PLACE),
        *(("up_direction", value) for value in ([0, 0, 0], [INF, 0, 0])),
        *(("wxyz", value) for value in ([0, 0, 0, 0], [1, 0, 0])),
        *(("fov", value) for value in (0, 3.2, NAN, "1", True)),
        *(("look_at", [0, 0, None]), ("near", -INF), ("image_width", -1), ("image_height", 10**9)),
    ],
)
def test_a_camera_that_cannot_be_is_dropped(field, value):
    message = {**CAMERA, field: value}
    assert refusal(encoded(message), "owner", nobody).startswith("ViewerCameraMessage with a value")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "no msgpack"),
        (b"\xc1", "no msgpack"),
        (b"\x91" * 60_000 + b"\x00", "no msgpack"),
        (encoded([1]), "no message"),
        (encoded({"type": 1}), "no message"),
        (encoded({"type": ["x"]}), "no message"),
        (encoded({**CAMERA, "more": 1}), "ViewerCameraMessage with other fields"),
        (encoded({"type": "ViewerCameraMessage"}), "ViewerCameraMessage with other fields"),
        (encoded({**COMMAND, "uuid": [1]}), "CommandTriggerMessage with a value"),
        (encoded({**COMMAND, "uuid": "x" * MAX_BYTES}), f"more than {MAX_BYTES} bytes"),
        (encoded({**RENDER, "payload": "text"}), "GetRenderResponseMessage with a value"),
        (encoded({**ACK, "total_bytes": NAN}), "FileTransferPartAck with a value"),
        (encoded({**POINTER, "screen_pos": [[0, 0]] * 99}), "ScenePointerMessage with a value"),
        (encoded({**POINTER, "event_type": "rect-select"}), "ScenePointerMessage with a value"),
        ("text", "text, where viser speaks bytes"),
        (bytes(MAX_RENDER_BYTES + 1), "too large"),
    ],
)
def test_what_is_no_message_is_dropped(message, why):
    assert refusal(message, "owner", nobody).startswith(why)


def test_a_value_is_of_its_widgets_type_range_and_options(server):
    gui = server.gui
    numbers = [0, 0.5, -1, 10**6, MAX_NUMBER, -MAX_NUMBER]
    cases: list[tuple[Any, list[Any]]] = [
        (gui.add_checkbox("", False), [True, False]),
        (gui.add_button(""), [True, False]),
        (gui.add_slider("", 0, 10, 1, 5), [0, 0.5]),
        (gui.add_number("", 5, min=0, max=10), numbers),
        (gui.add_dropdown("", ("x", "none")), ["x", "none"]),
        (gui.add_button_group("", ("x", "..")), ["x", ".."]),
    ]
    for handle, fitting in cases:
        for value in VALUES:
            wanted = any(value == one and type(value) is type(one) for one in fitting)
            assert value_fits(handle, value) is wanted, (type(handle), value)


def test_only_a_widget_that_is_there_takes_its_value_alone(server):
    box = server.gui.add_checkbox("", False)
    widgets = server.gui._gui_input_handle_from_uuid.get
    uuid = box._impl.uuid

    def why(**message: Any) -> str:
        return refusal(encoded({"type": "GuiUpdateMessage", **message}), "owner", widgets)

    assert why(uuid=uuid, updates={"value": True}) == ""
    for updates in ({}, {"update_cb": "abc"}, {"value": True, "removed": True}, [], "value"):
        assert why(uuid=uuid, updates=updates) != "", updates
    assert why(uuid="x", updates={"value": True}) != ""
    assert why(uuid=[uuid], updates={"value": True}) != ""
    box.disabled = True
    assert why(uuid=uuid, updates={"value": True}) != ""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[Viewer, MadeUpRun, Path]]:
    session = tmp_path / "session"
    writer = RecordingWriter(session / "archive", source="", settings={})
    writer.begin(Status())
    for sequence in range(3):
        writer.add(room_result(sequence, 16, 12))
    page = {"exporter": Exporter(lambda: writer.recording, session)}
    with closing(writer), shown(3, page, lanes=2, paused=True) as (run, viewer):
        yield viewer, run, session


def hostile_messages(viewer: Viewer) -> list[bytes | str]:
    """Every widget with every value, other fields, and what is no message at all."""
    gui = viewer.server.gui
    messages: list[bytes | str] = ["text", b"", b"\xc1", b"\x91" * 50_000]
    for uuid in list(gui._gui_input_handle_from_uuid):
        update = {"type": "GuiUpdateMessage", "uuid": uuid}
        messages += [encoded({**update, "updates": {"value": value}}) for value in VALUES]
        for name in ("update_cb", "sync_cb", "removed", "props", "no_such_field"):
            messages.append(encoded({**update, "updates": {name: "abc"}}))
    for uuid in (*gui._command_handle_from_uuid, "x", 7, None):
        messages.append(encoded({**COMMAND, "uuid": uuid}))
    for base in (CAMERA, POINTER, ACK, RENDER):
        for field in base.keys() - {"type"}:
            messages += [encoded({**base, field: value}) for value in (NAN, None, "x", [], 1e300)]
            messages.append(encoded({name: base[name] for name in base.keys() - {field}}))
    messages.append(encoded({**CAMERA, "position": CAMERA["look_at"]}))
    messages.append(encoded({**CAMERA, "up_direction": [0.0, 0.0, 0.0]}))
    messages.append(encoded({**CAMERA, "position": [1e9, 1e9, 1e9]}))
    messages.append(encoded({**POINTER, "ray_direction": [0.0] * 3}))
    upload = {"type": "FileTransferStartUpload", "source_component_uuid": "x"}
    messages.append(encoded({**upload, "transfer_uuid": "x", "filename": "../x"}))
    messages.append(encoded({"type": "ShareUrlRequest"}))
    return messages


def switch_path(viewer: Viewer, client: Connection) -> None:
    """Use a checkbox, and wait until the page has taken it."""
    box = viewer.part(LookPanel)._path
    echo(client, CAMERA)  # one that can be seen from
    for wanted in (True, False, True):
        set_value(client, box, wanted)
        wait_for(lambda on=wanted: viewer.controls.settings.show_path is on, "the checkbox", 60)


def test_a_page_survives_whatever_a_client_sends(page, caplog, capfd):
    viewer, run, session = page
    gc.collect()  # what tests before this one left behind is not told here
    caplog.clear()
    with join(viewer.port) as hostile:
        echo(hostile, CAMERA)
        wait_for(lambda: len(viewer.server.get_clients()) == 1, "the client")
        # Whatever looks into something is on, so that its values are used.
        set_value(hostile, viewer.part(InspectPanel)._widgets.on, True)
        messages = hostile_messages(viewer)
        for message in messages:
            hostile.send(message)
        # It is still listened to, once all before has been read.
        switch_path(viewer, hostile)
        assert viewer.gate.dropped > len(messages) // 2
        time.sleep(1.0)
    with join(viewer.port) as other:
        echo(other, CAMERA)
        assert other.recv(timeout=5)
        wait_for(lambda: not run.mailbox._waiting, "the commands to be taken")
        switch_path(viewer, other)
        assert viewer._publisher._trouble == ""
    gc.collect()  # asyncio tells of a task's error when the task is taken away
    errors = [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert [record.getMessage() for record in errors] == []
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err + printed.out
    assert {"page-publisher", "page-gate"} <= {thread.name for thread in threading.enumerate()}
    # What was exported meanwhile lies in the session, and nowhere else.
    outside = [one for one in session.parent.iterdir() if one != session]
    assert outside == []
    assert {one.name for one in session.iterdir()} <= {"archive", "export", "exports"}


def test_a_browser_that_says_too_much_is_read_slowly(page):
    viewer, _, _ = page
    with join(viewer.port) as socket:
        begin = time.monotonic()
        for _ in range(900):
            socket.send(b"\xc1")
        wait_for(lambda: viewer.gate.dropped == 900, "all to be read")
        assert time.monotonic() - begin > 1.5
