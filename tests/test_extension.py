"""The house can be added to from outside: a newcomer's file, and the one line that names it."""

from dataclasses import dataclass
from typing import ClassVar

from ttt3r_viewer.cli import main
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.rules.registry import RULES
from ttt3r_viewer.rules.rule import UpdateRule, parameter
from ttt3r_viewer.state import Evidence, Update


@dataclass(frozen=True)
class Fading(UpdateRule):
    """gain = start / (frames so far + 1)."""

    title: ClassVar[str] = "fading"
    paper: ClassVar[str] = "none"
    formula: ClassVar[str] = "gain = start / (frames so far + 1)"
    cost: ClassVar[str] = "keeps a count"

    start: float = parameter(1.0, 0.0, 1.0, "gain of the first frame")

    def initial(self) -> int:
        return 0

    def update(self, evidence: Evidence, rule_state: int) -> tuple[Update, int]:
        tokens = evidence.state
        gain = tokens.new_full(tokens.shape[:2], self.start / (rule_state + 1))
        return Update(gain), rule_state + 1


def test_a_rule_is_one_file_and_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(RULES, "fading", Fading)
    out = tmp_path / "out"
    rules = "fading:0.5,constant:0.3"
    assert main(["run", "--max-frames", "3", "--rules", rules, "--output", str(out)]) == 0
    recorded = Recording.open(out)
    for place, gain in enumerate((0.5, 0.25, 0.5 / 3)):
        fading, constant = recorded.frame(place)
        assert abs(fading.gain - gain).max() < 1e-3
        assert abs(constant.gain - 0.3).max() < 1e-3
