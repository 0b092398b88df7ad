"""The loop's state as named tensors and plain values, and back; no class is read from a file.

A rule's running value may be a number, a text, None, a tensor, a tuple, or a dataclass of these
that can be found by its name in the rule's own module.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ttt3r_viewer.errors import ReconstructionError, RecordingError
from ttt3r_viewer.reconstruct.loop import LoopState
from ttt3r_viewer.rules.rule import RuleState, UpdateRule
from ttt3r_viewer.state import TokenState

COUNTS = ("frames", "since_reset", "segment", "bad")
POSES = ("T_world_segment", "T_world_latest")
"""Fields of the loop's state that are plain numbers, and those that are poses, one per lane."""


def pack(state: LoopState, rules: Sequence[UpdateRule]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a state's tensors, copied to the host, and all the rest as JSON takes it.

    Raises `ReconstructionError` where a rule's running value is of a kind that cannot be written.
    """
    tensors = {"tokens": state.state.tokens, "memory": state.state.memory}
    states = [
        _pack_value(value, f"rule.{lane}", rule, tensors)
        for lane, (rule, value) in enumerate(zip(rules, state.rule_states, strict=True))
    ]
    values = {"fresh": state.state.fresh, "rule_states": states}
    values |= {name: getattr(state, name) for name in COUNTS}
    for name in POSES:
        values[name] = [pose.reshape(-1).tolist() for pose in getattr(state, name)]
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}, values


def unpack(
    tensors: Mapping[str, Tensor],
    values: Mapping[str, Any],
    rules: Sequence[UpdateRule],
    device: torch.device,
) -> LoopState:
    """Return the state that `pack` took apart. Raises `RecordingError` where a part is missing."""
    here = {name: tensor.to(device) for name, tensor in tensors.items()}
    try:
        # A checkpoint of 0.1 has neither, and counted no bad frame.
        values = {"T_world_latest": values["T_world_segment"], "bad": 0} | dict(values)
        parts: dict[str, Any] = {name: values[name] for name in COUNTS}
        parts |= {name: tuple(np.array(values[name], float).reshape(-1, 4, 4)) for name in POSES}
        return LoopState(
            state=TokenState(here["tokens"], here["memory"], fresh=values["fresh"]),
            rule_states=tuple(
                _unpack_value(value, rule, here)
                for rule, value in zip(rules, values["rule_states"], strict=True)
            ),
            **parts,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"the checkpoint cannot be understood ({error!r})") from error


def check_fits(recorded: TokenState, fresh: TokenState) -> None:
    """Raise `ReconstructionError` unless a state is of the network that gave the `fresh` one."""
    for was, now in ((recorded.tokens, fresh.tokens), (recorded.memory, fresh.memory)):
        if (was.shape, was.dtype) != (now.shape, now.dtype):
            raise ReconstructionError(
                f"the recording's state is {tuple(was.shape)} {was.dtype}, and this network's "
                f"{tuple(now.shape)} {now.dtype}: give the weights that it was made with"
            )


def _pack_value(value: RuleState, name: str, rule: UpdateRule, tensors: dict[str, Tensor]) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Tensor():
            tensors[name] = value
            return {"tensor": name}
        case tuple():
            return {
                "tuple": [
                    _pack_value(part, f"{name}.{place}", rule, tensors)
                    for place, part in enumerate(value)
                ]
            }
        case _ if _class_near(rule, type(value).__name__) is type(value):
            parts = {
                one.name: _pack_value(getattr(value, one.name), f"{name}.{one.name}", rule, tensors)
                for one in fields(value)
            }
            return {"class": type(value).__name__, "fields": parts}
    raise ReconstructionError(
        f"rule {rule} remembers a {type(value).__name__} between frames, which no checkpoint can "
        "hold: a run with it cannot be resumed; wanted are numbers, texts, None, tensors, "
        "tuples, and dataclasses of these in the rule's module"
    )


def _unpack_value(value: Any, rule: UpdateRule, tensors: Mapping[str, Tensor]) -> RuleState:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "tuple" in value:
        return tuple(_unpack_value(part, rule, tensors) for part in value["tuple"])
    made_by = _class_near(rule, value["class"])
    if made_by is None:
        raise RecordingError(f"rule {rule} has no {value['class']}, which the checkpoint holds")
    parts = value["fields"].items()
    return made_by(**{name: _unpack_value(part, rule, tensors) for name, part in parts})


def _class_near(rule: UpdateRule, name: str) -> type | None:
    """The dataclass of that name in the rule's module, which may have it from another's."""
    found = vars(sys.modules[type(rule).__module__]).get(name)
    return found if isinstance(found, type) and is_dataclass(found) else None
