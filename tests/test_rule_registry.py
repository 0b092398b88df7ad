"""Rules by name and text, those of other packages, and `ttt3r-view rules`."""

import re
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.golden_cases import golden_case
from tests.refusals import refusal
from ttt3r_viewer.cli import main
from ttt3r_viewer.commands.rules import EVIDENCE
from ttt3r_viewer.errors import RuleError
from ttt3r_viewer.rules import registry
from ttt3r_viewer.rules.constant import Constant
from ttt3r_viewer.rules.ddd3r import DDD3RBrake
from ttt3r_viewer.rules.rule import UpdateRule, parameters_of
from ttt3r_viewer.rules.ttt3r import TTT3R
from ttt3r_viewer.state import EvidenceKind
from ttt3r_viewer.types import ParameterInfo

DOCS = Path(__file__).parent.parent / "docs" / "rules.md"


@st.composite
def any_rule(draw: st.DrawFn) -> UpdateRule:
    rule = registry.RULES[draw(st.sampled_from(sorted(registry.RULES)))]
    values = {
        one.name: draw(st.floats(one.metadata["low"], one.metadata["high"]))
        for one in parameters_of(rule)
        if draw(st.booleans())
    }
    return rule(**values)


@given(any_rule())
def test_a_rule_and_its_text_are_one(rule):
    assert registry.rule_from_text(registry.text_of(rule)) == rule


@pytest.mark.parametrize(
    ("text", "rule", "said"),
    [
        ("ttt3r", TTT3R(), "TTT3R"),
        ("ttt3r:0.5", TTT3R(0.5), "TTT3R (multiplier 0.5)"),
        ("constant:0.3", Constant(0.3), "constant 0.3"),
        ("constant", Constant(), "CUT3R (rate 1)"),
        ("ddd3r-brake:tau=1", DDD3RBrake(1.0), "DDD3R brake (tau 1)"),
        (
            " ttt3r : 0.5 : temperature = 2",
            TTT3R(0.5, 2.0),
            "TTT3R (multiplier 0.5, temperature 2)",
        ),
        ("ttt3r: multiplier=0.5", TTT3R(0.5), "TTT3R (multiplier 0.5)"),
    ],
)
def test_texts_that_people_write(text, rule, said):
    made = registry.rule_from_text(text)
    assert made == rule
    assert str(made) == said


def test_shortest_texts():
    assert registry.text_of(TTT3R()) == "ttt3r"
    assert registry.text_of(Constant(0.3)) == "constant:0.3"
    assert registry.text_of(TTT3R(temperature=2.0)) == "ttt3r:temperature=2"
    assert registry.text_of(TTT3R(1 / 3)) == f"ttt3r:{1 / 3!r}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tt3r", "unknown rule 'tt3r': take one of ttt3r, constant, .*; did you mean ttt3r?"),
        ("", "unknown rule '': take one of ttt3r"),
        ("ttt3r:rate=0.5", "rule ttt3r does not take rate; it takes multiplier, temperature"),
        ("constant:fast", "'fast' is no number; give rate=NUMBER"),
        ("constant:", "'' is no number; give rate=NUMBER"),
        ("constant:0.3:0.4", r"'0.4' has no name \(NAME=VALUE\); it takes rate"),
        ("constant:0.3:rate=0.4", "gives rate twice"),
        ("constant:1.5", r"a constant rate of 1.5: it must lie in \[0, 1\], where 1 is CUT3R"),
        ("constant:nan", r"rate of nan: it must lie in \[0, 1\]"),
        ("constant:-0.1", r"rate of -0.1: it must lie in \[0, 1\]"),
        ("filt3r:tau_q=11", r"a FILT3R tau_q of 11: it must lie in \[0, 10\]"),
    ],
)
def test_texts_that_are_refused_say_how_to_mend_them(text, complaint):
    refusal(RuleError, registry.rule_from_text, text, match=complaint)


def test_several_rules_in_one_text():
    several = (TTT3R(), Constant(1.0), registry.make_rule("filt3r", tau_q=1.0))
    assert registry.rules_from_text("ttt3r,constant:1.0, filt3r:tau_q=1") == several
    with pytest.raises(RuleError, match="5 rules at once: take 1 to 4"):
        registry.rules_from_text(",".join(["ttt3r"] * 5))
    with pytest.raises(RuleError, match="unknown rule ''"):
        registry.rules_from_text("ttt3r,")


def test_a_value_that_is_no_number_is_refused():
    with pytest.raises(RuleError, match="a constant rate of 'fast': it must be a number"):
        registry.make_rule("constant", rate="fast")  # pyright: ignore[reportArgumentType]
    with pytest.raises(RuleError, match="rule ttt3r does not take rate; it takes multiplier"):
        registry.make_rule("ttt3r", rate=0.5)


def test_every_rule_says_what_it_is():
    infos = {info.name: info for info in registry.catalogue()}
    assert set(infos) >= set(registry.RULES)
    for name, rule in registry.RULES.items():
        assert all((rule.title, rule.paper, rule.formula, rule.cost))
        assert rule.needs <= set(get_args(EvidenceKind))
        assert registry.rule_name(rule()) == name
        with pytest.raises(FrozenInstanceError):
            rule().anything = 1  # pyright: ignore[reportAttributeAccessIssue]
        for one in infos[name].parameters:
            assert one.low <= one.default == one.value <= one.high
            assert one.help


def test_a_description_holds_the_values_in_force():
    info = registry.describe(TTT3R(multiplier=0.5))
    assert (info.name, info.title, info.text) == ("ttt3r", "TTT3R", "TTT3R (multiplier 0.5)")
    assert info.parameters[0] == ParameterInfo(
        "multiplier", 0.5, 1.0, 0.0, 2.0, "times the published gain, then clipped to [0, 1]", False
    )


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a package, made of one module, that offers rules to the entry-point group."""

    def install(package: str, code: str, **rules: str) -> None:
        (tmp_path / f"{package}.py").write_text(code)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {package}:{target}" for name, target in rules.items()]
        (info / "entry_points.txt").write_text("\n".join(["[ttt3r_viewer.rules]", *lines, ""]))
        packages.append(package)
        registry.offered_rules.cache_clear()

    packages: list[str] = []
    monkeypatch.syspath_prepend(tmp_path)
    yield install
    for package in packages:
        sys.modules.pop(package, None)
    monkeypatch.undo()
    registry.offered_rules.cache_clear()


def worked_example() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return code


@torch.inference_mode()
def test_the_example_of_the_documentation_runs(offer):
    offer("halfway", worked_example(), halfway="Halfway")
    rule = registry.rule_from_text("halfway:2:floor=0.4")
    assert registry.text_of(rule) == "halfway:2:floor=0.4"
    assert str(rule) == "halfway (half life 2, floor 0.4)"
    assert "halfway" in {info.name for info in registry.catalogue()}
    case = golden_case("linear-small")
    network, memory, gains = case.network(), rule.initial(), []
    state = network.initial_state()
    for image in case.images[:4]:
        proposal = network.propose(state, network.encode(image[None]), evidence=rule.needs)
        update, memory = rule.update(proposal.evidence, memory)
        change = proposal.evidence.candidate - state.tokens
        expected = state.tokens + update.gain[..., None] * change
        state = state.accept(proposal, update)
        assert torch.equal(state.tokens, expected)
        gains.append(update.gain.unique().item())
    assert gains == pytest.approx([1, 2 / 3, 1 / 2, 0.4])
    with pytest.raises(RuleError, match=r"a halfway half_life of 0: it must lie in \[1, 1000\]"):
        registry.rule_from_text("halfway:0")


def test_an_entry_point_is_imported_when_asked_for(offer):
    offer("halfway", worked_example(), halfway="Halfway")
    registry.rule_from_text("ttt3r")
    with pytest.raises(RuleError, match=r"ddd3r-ortho, .*halfway"):
        registry.rule_from_text("unheard-of")
    assert "halfway" not in sys.modules
    registry.rule_from_text("halfway")
    assert "halfway" in sys.modules


PLAIN = "from ttt3r_viewer.rules.constant import Constant\nclass X(Constant): pass"
TITLE, FLOOR = '    title = "halfway"\n', 'parameter(0.05, 0.0, 1.0, "smallest gain")'
BROKEN = {
    "missing": ("import nowhere_at_all", "X", "cannot be imported .*nowhere_at_all"),
    "raising": ("1 / 0", "X", "cannot be imported .*ZeroDivisionError"),
    "misnamed": ("", "X", "cannot be imported"),
    "foreign": ("X = 3", "X", "is no subclass of"),
    "unfrozen": (worked_example().replace("(frozen=True)", ""), "Halfway", "frozen dataclass"),
    "plain": (PLAIN, "X", "is no frozen dataclass"),
    "idle": (worked_example().replace("def update", "def renew"), "Halfway", "no update method"),
    "untitled": (worked_example().replace(TITLE, ""), "Halfway", "does not say its title"),
    "bare": (worked_example().replace(FLOOR, "0.05"), "Halfway", "not made by parameter.*: floor"),
}


@pytest.mark.parametrize("package", BROKEN)
def test_a_broken_package_is_named_and_harms_nobody(offer, package, capsys):
    code, target, complaint = BROKEN[package]
    offer(package, code, theirs=target)
    offer("halfway", worked_example(), halfway="Halfway")
    with pytest.raises(RuleError, match=f"rule 'theirs' of package {package} .*{complaint}"):
        registry.rule_from_text("theirs")
    names = {info.name for info in registry.catalogue()}
    assert {*registry.RULES, "halfway"} <= names
    assert "theirs" not in names
    assert main(["rules"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("not usable: rule 'theirs'") and package in line for line in said)


def test_no_package_takes_the_name_of_another_rule(offer):
    offer("halfway", worked_example(), ttt3r="Halfway")
    assert registry.rule_from_text("ttt3r") == TTT3R()
    _, (error,) = registry.all_rules()
    assert "package halfway has the name of a rule that is built in" in str(error)


def test_one_name_from_two_packages_is_refused(offer):
    offer("halfway", worked_example(), slow="Halfway")
    offer("halfway2", worked_example(), slow="Halfway")
    with pytest.raises(RuleError, match="of package halfway and halfway2: one name, two rules"):
        registry.rule_from_text("slow")


def test_whole_numbers_stay_whole(offer):
    code = worked_example().replace("parameter(10.0, 1.0, 1000.0,", "parameter(10, 1, 1000,")
    offer("halfway", code, halfway="Halfway")
    rule = registry.rule_from_text("halfway:20")
    assert registry.describe(rule).parameters[0].whole
    assert registry.text_of(rule) == "halfway:20"
    with pytest.raises(RuleError, match=r"half_life of 2\.5: it must be a whole number"):
        registry.rule_from_text("halfway:2.5")


def test_the_list_says_all_of_every_rule(capsys):
    assert main(["rules"]) == 0
    said = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(said).split())
    assert max(map(len, said)) <= 100
    for name, rule in registry.RULES.items():
        for part in (name, rule.title, rule.paper, rule.formula, rule.cost):
            assert part in text, (name, part)
        for one in parameters_of(rule):
            assert f"{one.name} = {one.default:g} in [" in text
    assert "mean logit of each state token" in text
    assert set(EVIDENCE) == set(get_args(EvidenceKind))


def test_the_documentation_has_every_rule_and_kind_of_evidence():
    text = DOCS.read_text(encoding="utf-8")
    for name, rule in registry.RULES.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
        assert all(f"`{kind}`" in row for kind in rule.needs)
    for kind in get_args(EvidenceKind):
        assert f"\n| `{kind}` |" in text
