"""Reads YAML as plain values.

Anchors, aliases and merge keys let a few lines stand for more values than fit in memory, and of two
values under one name YAML's reader silently keeps the last; so all of these are refused.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ttt3r_viewer.errors import SettingsError, in_a_line, system_words

LONGEST = 64 << 10
"""Bytes; PyYAML reads some 100 kB in a second, and settings are far shorter."""
DEEPEST = 16
_LONGEST_REASON = 200


def read_yaml(path: Path) -> Any:
    """What the first document of a file says, as plain values.

    Raises `SettingsError` without the file's name in it: not readable, too long, not YAML, or more
    than plain values.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        raise SettingsError(system_words(error)) from error
    if len(data) > LONGEST:
        raise SettingsError(f"longer than {LONGEST:,} bytes; settings are not so long")
    try:
        return yaml.load(data.decode("utf-8"), _PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        # PyYAML makes numbers and dates by Python's own types, whose errors come through.
        what = in_a_line(error, _LONGEST_REASON)
        raise SettingsError(f"not YAML ({what})") from error


class _PlainLoader(yaml.SafeLoader):
    """A safe loader that refuses aliases, merges, double names and deep nesting."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            _refuse(event, f"*{event.anchor} stands for another value: write it out")
        self._depth += 1
        if self._depth > DEEPEST:
            _refuse(event, f"nested deeper than {DEEPEST} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse(key, "a name that is no text: write `name: value`")
            if key.tag == "tag:yaml.org,2002:merge":
                _refuse(key, "<< merges another mapping: write `name: value`")
            if key.value in names:
                _refuse(key, f"{key.value[:40]} stands there twice: give it once")
            names.add(key.value)
        return super().construct_mapping(node, deep)


def _refuse(where: yaml.Event | yaml.Node, why: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=why, problem_mark=where.start_mark)
