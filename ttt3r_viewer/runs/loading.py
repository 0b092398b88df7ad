"""Load a network and make lanes of it: for a run, and for a recording that is opened.

Torch is imported when they are asked for, which is in another thread than the page's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttt3r_viewer.errors import WeightsError
from ttt3r_viewer.reconstruct.history import FrameHistory
from ttt3r_viewer.recording.checkpoint import Checkpoints
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.runs.resuming import identity_of
from ttt3r_viewer.settings import NetworkOptions, RuleOptions, Settings

if TYPE_CHECKING:
    from ttt3r_viewer.model.network import ReconstructionNetwork
    from ttt3r_viewer.reconstruct.session import Lanes


def recorded_lanes(recording: Recording, options: NetworkOptions) -> Lanes:
    """Lanes with the weights of `options` that look into recorded frames.

    Raises a `ViewerError` where the weights cannot be used, or are not those of the frames.
    """
    from ttt3r_viewer.reconstruct.session import Lanes

    network = _network_of(options)
    sequences = recording.sequences
    tokens = len(recording.seen(sequences[0])[0].gain)
    if tokens != network.config.state_size:
        raise WeightsError(
            f"{options.weights} has a state of {network.config.state_size} tokens, and the "
            f"recording has {tokens}: give the weights of its run "
            f"({recording.manifest.status.model})"
        )
    lanes = Lanes(network, rules_from_text(RuleOptions.rules), history=FrameHistory(recording))
    lanes.remember(recording, sequences)
    return lanes


def make_lanes(
    settings: Settings,
    rules: tuple[UpdateRule, ...],
    recording: RecordingWriter | None,
    checkpoints: Checkpoints | None,
) -> Lanes:
    """In the worker's thread: import torch, read the weights."""
    from ttt3r_viewer.model.compiled import CompiledStep
    from ttt3r_viewer.reconstruct.session import Lanes

    # Before the network is loaded, which takes longer.
    identity = None if checkpoints is None else identity_of(settings)
    network = _network_of(settings.model)
    compiles = settings.model.compile == "on" or (
        settings.model.compile == "auto" and network.device.type == "cuda"
    )
    lanes = Lanes(
        network,
        rules,
        size=settings.model.size,
        reset_every=settings.rules.reset_every,
        history=FrameHistory(recording),
        compiled=CompiledStep(network) if compiles else None,
    )
    if checkpoints is not None and identity is not None:
        checkpoints.attach(lanes.saved, lanes.ends_batch, identity)
    return lanes


def _network_of(options: NetworkOptions) -> ReconstructionNetwork:
    from ttt3r_viewer.weights.load import load_network, share_cpu

    network = load_network(options.weights, device=options.device, dtype=options.dtype)
    share_cpu(network)
    return network
