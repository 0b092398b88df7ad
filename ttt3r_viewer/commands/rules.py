"""`ttt3r-view rules`: all update rules, with what they compute, from what, and at what cost."""

from collections.abc import Iterator

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.rules.registry import all_rules
from ttt3r_viewer.rules.rule import UpdateRule, parameters_of
from ttt3r_viewer.state import EvidenceKind
from ttt3r_viewer.system.terminal import labelled, line_width

WIDTH = 100
LABEL_WIDTH = 13
EVIDENCE: dict[EvidenceKind, str] = {
    "state_logits": "mean logit of each state token",
    "image_logits": "mean logit of each image token",
    "pair_logits": "mean logit of each state token with each image token",
    "state_entropy": "mean entropy of each state token's attention to the patches",
    "image_features": "the encoder's features of each patch",
    "image_mean": "mean over patches of the projected features",
    "image_residual": "how far the decoder moved the patches",
}
"""What each kind of evidence is, in words; every rule also sees the state and its proposal."""


def execute(_given: Given, echo: Echo, _warn: Echo) -> int:
    """Say what rules there are, one block per rule, then what is wrong with those of others."""
    rules, errors = all_rules()
    echo("S is the state, C what the network proposes: S + gain (C - S), per token.")
    echo("Take one with --rules NAME, several with --rules NAME,NAME:VALUE,NAME:KEY=VALUE.")
    width = min(WIDTH, line_width() or WIDTH)
    for name, rule in rules.items():
        echo("")
        for label, text in _rows(name, rule):
            echo("\n".join(labelled(label, text, LABEL_WIDTH, width)))
    for error in errors:
        echo("")
        echo(f"not usable: {error}")
    return 0


def _rows(name: str, rule: type[UpdateRule]) -> Iterator[tuple[str, str]]:
    """(label, text) of each."""
    seen = [text for kind, text in EVIDENCE.items() if kind in rule.needs]
    yield name, f"{rule.title} | {rule.paper}"
    yield "  formula", rule.formula
    yield "  evidence", "; ".join(seen) or "none beside state and proposal"
    yield "  cost", rule.cost
    for one in parameters_of(rule):
        low, high = one.metadata["low"], one.metadata["high"]
        what = f"{one.name} = {one.default:g} in [{low:g}, {high:g}]: {one.metadata['help']}"
        yield "  parameter", what


COMMAND = Command(
    "List the update rules: paper, formula, evidence, cost, parameters.", execute=execute
)
