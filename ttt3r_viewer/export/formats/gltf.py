"""The container of a binary glTF 2.0 file (Khronos, "glTF 2.0 Specification", section 4).

Written here and not by trimesh, because its point clouds carry the image's bytes as they are,
where the standard has linear colours.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.system.version import PROGRAM

POINTS, LINES, TRIANGLES = 0, 1, 4
"""Modes of a primitive."""
_MAGIC, _JSON, _BINARY = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT = 5126, 5125
_VERTICES, _INDICES = 34962, 34963


class Gltf:
    """Collects nodes, meshes and arrays, and gives the bytes of the file."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.cameras: list[dict[str, Any]] = []
        self._meshes: list[dict[str, Any]] = []
        self._materials: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._views: list[dict[str, Any]] = []
        self._parts: list[bytes] = []
        self._length = 0

    def add_node(self, **fields: Any) -> int:
        """Give the number of a new node; fields that are None are left out."""
        self.nodes.append({key: value for key, value in fields.items() if value is not None})
        return len(self.nodes) - 1

    def add_mesh(
        self,
        name: str,
        mode: Literal[0, 1, 4],
        positions: NDArray[np.float32],
        colors: NDArray[np.float32] | None = None,
        indices: NDArray[np.uint32] | None = None,
        base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    ) -> int:
        """Give the number of a new mesh: positions (n, 3), linear colours (n, 3), indices (k,).

        It is drawn in its colours, whatever the light.
        """
        attributes = {"POSITION": self._add_array(positions, "VEC3", _VERTICES, with_range=True)}
        if colors is not None:
            attributes["COLOR_0"] = self._add_array(colors, "VEC3", _VERTICES)
        primitive: dict[str, Any] = {"attributes": attributes, "mode": mode}
        if indices is not None:
            primitive["indices"] = self._add_array(indices, "SCALAR", _INDICES)
        self._materials.append(
            {
                "name": name,
                "pbrMetallicRoughness": {
                    "baseColorFactor": list(base_color),
                    "metallicFactor": 0.0,
                    "roughnessFactor": 1.0,
                },
                "doubleSided": True,
                "extensions": {"KHR_materials_unlit": {}},
            }
        )
        primitive["material"] = len(self._materials) - 1
        self._meshes.append({"name": name, "primitives": [primitive]})
        return len(self._meshes) - 1

    def to_bytes(self, root: int) -> bytes:
        """Give the file, with the scene of this root node."""
        body = b"".join(self._parts)
        document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": PROGRAM},
            "scene": 0,
            "scenes": [{"nodes": [root]}],
            "nodes": self.nodes,
        }
        # The standard allows no empty lists.
        lists = {
            "meshes": self._meshes,
            "materials": self._materials,
            "cameras": self.cameras,
            "accessors": self._accessors,
            "bufferViews": self._views,
        }
        document |= {name: one for name, one in lists.items() if one}
        if self._materials:
            document["extensionsUsed"] = ["KHR_materials_unlit"]
        chunks = b""
        if body:
            document["buffers"] = [{"byteLength": len(body)}]
            chunks = struct.pack("<II", len(body), _BINARY)
        head = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")
        head += b" " * (-len(head) % 4)
        total = 12 + 8 + len(head) + len(chunks) + len(body)
        start = struct.pack("<IIIII", _MAGIC, 2, total, len(head), _JSON)
        return b"".join((start, head, chunks, body))

    def _add_array(
        self,
        array: NDArray[np.float32] | NDArray[np.uint32],
        kind: Literal["SCALAR", "VEC3"],
        target: int,
        *,
        with_range: bool = False,
    ) -> int:
        """Every array has a view of its own; all have elements of 4 bytes, so all are aligned."""
        assert array.dtype in (np.float32, np.uint32), array.dtype
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        view = {"buffer": 0, "byteOffset": self._length, "byteLength": len(data), "target": target}
        self._views.append(view)
        self._parts.append(data)
        self._length += len(data)
        accessor: dict[str, Any] = {
            "bufferView": len(self._views) - 1,
            "componentType": _FLOAT if array.dtype == np.float32 else _UINT,
            "count": len(array),
            "type": kind,
        }
        if with_range:
            accessor["min"] = [float(one) for one in array.min(axis=0)]
            accessor["max"] = [float(one) for one in array.max(axis=0)]
        self._accessors.append(accessor)
        return len(self._accessors) - 1
