"""The update rules by name: those of this package, and those that installed packages add through
the entry-point group `ttt3r_viewer.rules` (docs/rules.md shows how).
"""

import difflib
import functools
import inspect
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points

from ttt3r_viewer.errors import RuleError
from ttt3r_viewer.rules.constant import Constant
from ttt3r_viewer.rules.ddd3r import DDD3RBrake, DDD3RConst, DDD3ROrtho
from ttt3r_viewer.rules.filt3r import FILT3R
from ttt3r_viewer.rules.memix import MeMixCut, MeMixTTSA, MeMixTTT
from ttt3r_viewer.rules.recal3r import ReCal3R
from ttt3r_viewer.rules.rule import UpdateRule, parameters_of
from ttt3r_viewer.rules.ttsa3r import TTSA3R
from ttt3r_viewer.rules.ttt3r import TTT3R
from ttt3r_viewer.types import ParameterInfo, RuleInfo

ENTRY_POINTS = "ttt3r_viewer.rules"
MOST_LANES = 4
"""Rules that may run side by side, each in a lane of its own."""
_LONGEST_TEXT = 1000
RULES: dict[str, type[UpdateRule]] = {
    "ttt3r": TTT3R,
    "constant": Constant,
    "ttsa3r": TTSA3R,
    "filt3r": FILT3R,
    "recal3r": ReCal3R,
    "memix-cut": MeMixCut,
    "memix-ttt": MeMixTTT,
    "memix-ttsa": MeMixTTSA,
    "ddd3r-const": DDD3RConst,
    "ddd3r-brake": DDD3RBrake,
    "ddd3r-ortho": DDD3ROrtho,
}
"""The rules of this package."""


def rule_class(name: str) -> type[UpdateRule]:
    """The rule of that name; an unknown one is an error that lists the known ones."""
    if name in RULES:
        return RULES[name]
    offers = offered_rules()
    if name not in offers:
        known = [*RULES, *offers]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RuleError(f"unknown rule {name!r}: take one of {', '.join(known)}{hint}")
    return _load(name, offers[name])


@functools.cache
def offered_rules() -> dict[str, tuple[EntryPoint, ...]]:
    """What other packages offer under each name; nothing of theirs is imported yet."""
    offers: dict[str, tuple[EntryPoint, ...]] = {}
    for offer in sorted(entry_points(group=ENTRY_POINTS), key=lambda one: (one.name, one.value)):
        offers[offer.name] = (*offers.get(offer.name, ()), offer)
    return offers


def all_rules() -> tuple[dict[str, type[UpdateRule]], tuple[RuleError, ...]]:
    """Every rule that can be had, by name, and an error for each that cannot."""
    found, errors = dict(RULES), []
    for name, offers in offered_rules().items():
        try:
            found[name] = _load(name, offers)
        except RuleError as error:
            errors.append(error)
    return found, tuple(errors)


def _load(name: str, offers: tuple[EntryPoint, ...]) -> type[UpdateRule]:
    """Import a rule of another package; whatever is wrong with it is an error that names it."""
    first, *others = offers
    packages = " and ".join(
        sorted(offer.dist.name if offer.dist else offer.module for offer in offers)
    )
    said = f"rule {name!r} of package {packages}"
    if name in RULES:
        raise RuleError(f"{said} has the name of a rule that is built in: it must take another")
    if others:
        raise RuleError(f"{said}: one name, two rules; uninstall a package")
    if set(name) & set(":,= "):
        raise RuleError(f"{said} has a name that cannot be typed: it must do without ':', ',', '='")
    try:
        loaded = first.load()
    except Exception as error:  # another package may raise anything at all
        reason = f"{type(error).__name__}: {error}"
        raise RuleError(f"{said} cannot be imported ({reason}): update or uninstall it") from error
    if lacks := _lacks(loaded):
        raise RuleError(f"{said} {lacks}: see docs/rules.md")
    return loaded


def _lacks(loaded: object) -> str:
    """What keeps an object from being a rule; empty where nothing does."""
    if not (inspect.isclass(loaded) and issubclass(loaded, UpdateRule)):
        return "is no subclass of ttt3r_viewer.rules.rule.UpdateRule"
    if inspect.isabstract(loaded):
        return "has no update method"
    # Looked for in the class itself, because a plain subclass of a dataclass inherits its marks.
    marks = vars(loaded).get("__dataclass_params__")
    if marks is None or not marks.frozen:
        return "is no frozen dataclass"
    facts = ("title", "paper", "formula", "cost")
    if missing := [fact for fact in facts if not isinstance(getattr(loaded, fact, None), str)]:
        return f"does not say its {', '.join(missing)}"
    if bare := [one.name for one in parameters_of(loaded) if "low" not in one.metadata]:
        return f"has fields that are not made by parameter(): {', '.join(bare)}"
    return ""


def make_rule(name: str, /, **parameters: float) -> UpdateRule:
    """The rule of that name; an unknown name or parameter is an error that lists the known ones."""
    maker = rule_class(name)
    known = [one.name for one in parameters_of(maker)]
    if unknown := sorted(set(parameters) - set(known)):
        takes = ", ".join(known) or "no parameters"
        raise RuleError(f"rule {name} does not take {', '.join(unknown)}; it takes {takes}")
    return maker(**parameters)


def with_parameter(rule: UpdateRule, name: str, value: float) -> UpdateRule:
    """The same rule with another value; an unknown parameter is an error that lists the known."""
    known = {one.name: one for one in describe(rule).parameters}
    if name not in known:
        has = ", ".join(known) or "no parameters"
        raise RuleError(f"rule {rule_name(rule)} has no {name!r}; it has {has}")
    wanted = round(value) if known[name].whole else value
    return replace(rule, **{name: wanted})  # pyright: ignore[reportArgumentType]


def rule_from_text(text: str) -> UpdateRule:
    """A rule from `name[:value][:key=value]...`, such as `constant:0.3` or `ttt3r:temperature=2`.

    A value without a key is that of the rule's first parameter.
    """
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise RuleError(f"rule {text[:60]!r}: wanted NAME[:VALUE][:KEY=VALUE]... in one short line")
    name, *settings = (piece.strip() for piece in text.split(":"))
    declared = {one.name: one for one in parameters_of(rule_class(name))}
    values: dict[str, float] = {}
    for place, setting in enumerate(settings):
        key, equals, value = (part.strip() for part in setting.rpartition("="))
        if not equals:
            if place or not declared:
                takes = f"it takes {', '.join(declared)}" if declared else "it takes no parameters"
                raise RuleError(f"rule {text!r}: {setting!r} has no name (NAME=VALUE); {takes}")
            key = next(iter(declared))
        if key in values:
            raise RuleError(f"rule {text!r} gives {key} twice: give it once")
        try:
            number = float(value)
        except ValueError:
            raise RuleError(f"rule {text!r}: {value!r} is no number; give {key}=NUMBER") from None
        whole = key in declared and declared[key].metadata["whole"] and number.is_integer()
        values[key] = int(number) if whole else number
    return make_rule(name, **values)


def rules_from_text(text: str) -> tuple[UpdateRule, ...]:
    """One to `MOST_LANES` rules from a list with commas, such as `ttt3r,constant:1.0`."""
    texts = text.split(",")
    if len(texts) > MOST_LANES:
        raise RuleError(f"{len(texts)} rules at once: take 1 to {MOST_LANES}")
    return tuple(map(rule_from_text, texts))


def rule_name(rule: UpdateRule) -> str:
    """The name that makes such a rule; of a class that is not registered, the class's own."""
    kind = type(rule)
    known = RULES if kind in RULES.values() else all_rules()[0]
    return next((name for name, one in known.items() if one is kind), kind.__name__)


def text_of(rule: UpdateRule) -> str:
    """The shortest text that `rule_from_text` makes this rule from."""
    return describe(rule).argument


def describe(rule: UpdateRule) -> RuleInfo:
    """The rule as plain values, for those who must not import one."""
    parameters = tuple(
        ParameterInfo(
            name=one.name,
            value=getattr(rule, one.name),
            default=one.default,  # pyright: ignore[reportArgumentType] - parameter() sets one
            low=one.metadata["low"],
            high=one.metadata["high"],
            help=one.metadata["help"],
            whole=one.metadata["whole"],
        )
        for one in parameters_of(type(rule))
    )
    return RuleInfo(rule_name(rule), rule.title, str(rule), parameters)


def catalogue() -> tuple[RuleInfo, ...]:
    """All rules that can be had, as they are by default."""
    return tuple(describe(rule()) for rule in all_rules()[0].values())
