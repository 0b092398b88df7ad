"""Named scene nodes of a layer: each is sent again only where what it shows has changed."""

from typing import Any


class Nodes:
    """Handles of viser's nodes by name, each with the key of what it shows."""

    def __init__(self) -> None:
        self.handles: dict[str, Any] = {}
        """The nodes that are in the page."""
        self._keys: dict[str, object] = {}
        self._scene: object = None

    def outdated(self, name: str, key: object) -> bool:
        """Whether a node must be sent to show this key; a key of None removes it."""
        if key is None:
            self.remove(name)
        return key is not None and self._keys.get(name) != key

    def put(self, name: str, handle: Any, key: object = None) -> None:
        """Keep a node that was sent in place of the one of this name; None where it is empty."""
        before = self.handles.pop(name, None)
        if before is not None and (handle is None or before.name != handle.name):
            before.remove()
        if handle is not None:
            self.handles[name] = handle
        self._keys[name] = key

    def remove(self, name: str) -> None:
        """Take a node out of the page, where it is there."""
        self._keys.pop(name, None)
        if name in self.handles:
            self.handles.pop(name).remove()

    def clear(self) -> None:
        """Take all nodes out of the page."""
        for name in tuple(self._keys):
            self.remove(name)

    def begin(self, scene: object) -> bool:
        """Name the lanes above; where they are new, all nodes were removed with the old ones."""
        is_new = scene != self._scene
        if is_new:
            self._scene, self.handles, self._keys = scene, {}, {}
        return is_new
