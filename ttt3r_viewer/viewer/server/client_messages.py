"""What a browser may say: every message is checked before viser, which checks nothing, reads it.

viser would set any field of a widget to any value, buffer uploads without limit, and end a
connection's task at a field that it does not know. So what is not on the list here is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import viser

from ttt3r_viewer.viewer.server.access import Role

MAX_BYTES = 64 * 1024
"""Of one message from a browser; ours are below 1 kB."""
MAX_RENDER_BYTES = 50 * 1024 * 1024
"""Of a picture that the owner's browser was asked for; viser takes no more either."""
MAX_TEXT = 1000
"""Letters of a text that a person types."""
MAX_NUMBER = 1e9
MAX_LENGTH = 1e9
"""Of a camera's place, in the scene's unit."""
NEAREST = 1e-6
"""What a camera looks at is at least so far away, as a share of its own distance from the origin:
where it is not, viser fails at the next move of that camera, and with it the page of everybody."""
MAX_SIDE_PX = 65_536
MAX_SCREEN_POINTS = 64

FIELDS: dict[str, frozenset[str]] = {
    "ViewerCameraMessage": frozenset(
        {
            *("wxyz", "position", "fov", "near", "far", "image_height", "image_width"),
            *("look_at", "up_direction"),
        }
    ),
    "GetRenderResponseMessage": frozenset({"payload", "render_uuid"}),
    "GuiUpdateMessage": frozenset({"uuid", "updates"}),
    "CommandTriggerMessage": frozenset({"uuid"}),
    "ScenePointerMessage": frozenset(
        {"event_type", "ray_origin", "ray_direction", "screen_pos", "modifier"}
    ),
    "FileTransferPartAck": frozenset(
        {"source_component_uuid", "transfer_uuid", "transferred_bytes", "total_bytes"}
    ),
}
"""The kinds of messages that our page sends, each with all its fields."""
GUEST_KINDS = frozenset({"ViewerCameraMessage", "GuiUpdateMessage"})
"""What looking around needs, and widgets that are the guest's own."""

Widgets = Callable[[str], Any]
"""Gives viser's widget of an identifier, or None."""


def widgets_of(server: viser.ViserServer) -> Widgets:
    """Look widgets up in a server; from any thread, for a dictionary's `get` is one step."""
    return server.gui._gui_input_handle_from_uuid.get


def refusal(raw: bytes | str, role: Role, widgets: Widgets) -> str:
    """Say why a message is not passed on; empty where it is. `widgets` are those that this role may
    move.
    """
    if isinstance(raw, str):
        return "text, where viser speaks bytes"
    if len(raw) > (MAX_RENDER_BYTES if role == "owner" else MAX_BYTES):
        return "too large"
    try:
        message = msgspec.msgpack.decode(raw)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return "no msgpack"
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "no message"
    kind = message.pop("type")
    if kind not in FIELDS:
        return "a kind that the page does not use"
    if role == "guest" and kind not in GUEST_KINDS:
        return "a guest only looks"
    if len(raw) > MAX_BYTES and kind != "GetRenderResponseMessage":
        return f"more than {MAX_BYTES} bytes"
    if message.keys() != FIELDS[kind]:
        return f"{kind} with other fields"
    fine = _CHECKS[kind](message, widgets)
    return "" if fine else f"{kind} with a value that no widget gives"


def _camera(message: Mapping[str, Any], _: Widgets) -> bool:
    vectors = ("position", "look_at", "up_direction")
    return (
        all(_numbers(message[name], 3, MAX_LENGTH) for name in vectors)
        and _numbers(message["wxyz"], 4, 2.0)
        and any(message["wxyz"])
        and math.dist(message["look_at"], message["position"])
        >= NEAREST * max(1.0, math.hypot(*message["position"]))
        and math.hypot(*message["up_direction"]) >= NEAREST
        and all(_number(message[name], MAX_LENGTH) for name in ("fov", "near", "far"))
        and 0 < message["fov"] < math.pi
        and all(_pixels(message[name]) for name in ("image_height", "image_width"))
    )


def _update(message: Mapping[str, Any], widgets: Widgets) -> bool:
    """Whether a widget that is there and not greyed out could have this value."""
    uuid, updates = message["uuid"], message["updates"]
    if not isinstance(uuid, str) or not isinstance(updates, dict) or updates.keys() != {"value"}:
        return False
    handle = widgets(uuid)
    if handle is None or getattr(handle._impl.props, "disabled", False):
        return False
    return value_fits(handle, updates["value"])


def value_fits(handle: Any, value: object) -> bool:
    """Whether a value is of a widget's type, in its range or among its options.

    A number box takes numbers out of its range too: browsers send what is half typed, and the panel
    brings it back.
    """
    now, props = handle._impl.value, handle._impl.props
    if isinstance(now, bool):
        return isinstance(value, bool)
    if isinstance(now, int | float):
        if not _number(value, MAX_NUMBER):
            return False
        if isinstance(handle, viser.GuiSliderHandle):
            half_step = props.step / 2  # a browser rounds
            low, high = props.min - half_step, props.max + half_step
            return low <= value <= high  # type: ignore[operator]
        return True
    if not isinstance(now, str) or not isinstance(value, str):
        return False
    options = getattr(props, "options", None)
    return len(value) <= MAX_TEXT if options is None else value in options


def _command(message: Mapping[str, Any], _: Widgets) -> bool:
    return isinstance(message["uuid"], str)


def _pointer(message: Mapping[str, Any], _: Widgets) -> bool:
    rays = (message["ray_origin"], message["ray_direction"])
    places = message["screen_pos"]
    return (
        message["event_type"] == "click"
        and all(_numbers(ray, 3, MAX_LENGTH) for ray in rays)
        and isinstance(places, list)
        and 0 < len(places) <= MAX_SCREEN_POINTS
        and all(_numbers(place, 2, MAX_NUMBER) for place in places)
        and (message["modifier"] is None or isinstance(message["modifier"], str))
    )


def _render(message: Mapping[str, Any], _: Widgets) -> bool:
    return isinstance(message["payload"], bytes) and isinstance(message["render_uuid"], str)


def _ack(message: Mapping[str, Any], _: Widgets) -> bool:
    source = message["source_component_uuid"]
    counts = (message["transferred_bytes"], message["total_bytes"])
    return (
        (source is None or isinstance(source, str))
        and isinstance(message["transfer_uuid"], str)
        and all(_number(count, MAX_LENGTH) for count in counts)
    )


_CHECKS: dict[str, Callable[[Mapping[str, Any], Widgets], bool]] = {
    "ViewerCameraMessage": _camera,
    "GuiUpdateMessage": _update,
    "CommandTriggerMessage": _command,
    "ScenePointerMessage": _pointer,
    "FileTransferPartAck": _ack,
    "GetRenderResponseMessage": _render,
}


def _number(value: object, most: float) -> bool:
    """Whether it is a number, finite and of a size that nothing chokes on."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= most


def _numbers(value: object, count: int, most: float) -> bool:
    return (
        isinstance(value, list) and len(value) == count and all(_number(one, most) for one in value)
    )


def _pixels(value: object) -> bool:
    # A browser window that is folded away has no pixels.
    return _number(value, MAX_SIDE_PX) and value >= 0  # type: ignore[operator]
