"""``Finding``: what many runs say, in words, by a rule that is stated; or that they say nothing.

The groups' means are compared pair by pair: Welch's t, with intervals at 95 % for all pairs together (Bonferroni: 1 - 0.05
/ pairs each), so that the leader may be picked after looking. A group is better than another where the interval of their
difference leaves out zero. Groups with one run take no part: one value says nothing of its luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ._group import Group
from ._numbers import Scale, count_text
from ._student import Interval, welch_interval

LEVEL = 0.95
_MOST_NAMED = 3

Kind = Literal["nothing", "single", "one seed", "no difference", "leads", "best"]


@dataclass(frozen=True)
class Comparison:
    """The leader against another group: ``difference`` is in the direction of the metric, leader minus other."""

    other: Group
    difference: Interval
    is_clear: bool


@dataclass(frozen=True)
class Finding:
    """What the runs say.

    Attributes:
        kind: "best": one group is better than all others. "leads": better than some. "no difference": than none.
            "one seed": nothing to compare by. "single": one group. "nothing": no values.
        headline, deck: in words; the deck has the numbers behind the headline and what is to be known about them.
        leader: the group with the best mean of those that can be compared.
        pairs: how many comparisons the intervals allow for.
    """

    kind: Kind
    headline: str
    deck: tuple[str, ...]
    leader: Group | None = None
    comparisons: tuple[Comparison, ...] = ()
    pairs: int = 0


def find(groups: Sequence[Group], metric: str | None, mode: str | None, scale: Scale, *, going: int = 0) -> Finding:
    """The finding of groups in the order of their means, best first; ``going`` runs have not ended yet."""
    valued = [group for group in groups if group.values]
    if metric is None or not valued:
        return _nothing(groups, metric, going)
    if mode is None:
        text = f"Nobody said whether more or less of {metric} is better"
        return Finding("nothing", text, ("Say so with --mode max or --mode min.", *_caveats(groups)))
    if len(groups) == 1:
        return _single(valued[0], metric, scale, _caveats(groups))
    able = [group for group in valued if len(group.values) > 1]
    if len(able) < 2:
        return _one_seed(valued, metric, mode, scale, _caveats(groups))
    return _compared(able, valued, metric, mode, scale, _caveats(groups))


def _compared(
    able: list[Group], valued: list[Group], metric: str, mode: str, scale: Scale, caveats: list[str]
) -> Finding:
    leader, pairs = able[0], len(able) * (len(able) - 1) // 2
    found = [_compare(leader, other, mode, 1 - (1 - LEVEL) / pairs) for other in able[1:]]
    tied = [one.other for one in found if not one.is_clear]
    value = scale.text(leader.interval.value) if leader.interval else ""
    extreme = "highest" if mode == "max" else "lowest"
    alone = [group for group in valued if len(group.values) == 1]
    deck: list[str] = []
    if not tied:
        kind: Kind = "best"
        gain = scale.change(abs(found[0].difference.value), sign=False)
        headline = f"Best with {leader.title}: {metric} {value}, {gain} {_side(mode)} {found[0].other.title}"
        deck.append(f"{_interval_text(found[0], mode, scale, pairs)}{_against_rest(found)}")
    elif len(tied) == len(found):
        kind, headline = "no difference", f"No difference in {metric} that these seeds can show"
        spread = _interval_text(found[0], mode, scale, pairs)
        deck.append(f"{leader.title} has the {extreme} mean, {value}, but it may be luck. {spread}")
    else:
        kind = "leads"
        headline = f"Best with {leader.title}: {metric} {value}, but {_named(tied)} may be as good"
        clear = [one.other for one in found if one.is_clear]
        deck.append(f"It is clearly better than {_named(clear)}. {_interval_text(found[0], mode, scale, pairs)}")
    if alone:
        deck.append(f"{_named(alone)}: one run each, so not compared.")
    return Finding(kind, headline, (*deck, *caveats), leader, tuple(found), pairs)


def _compare(leader: Group, other: Group, mode: str, level: float) -> Comparison:
    found = welch_interval(leader.values, other.values, level)
    is_clear = found.low is not None and found.high is not None and (found.low > 0 if mode == "max" else found.high < 0)
    return Comparison(other, found, is_clear)


def _interval_text(one: Comparison, mode: str, scale: Scale, pairs: int) -> str:
    found = one.difference
    if found.low is None or found.high is None:
        return f"Against {one.other.title} there is no interval: the seeds do not differ at all."
    low, high = sorted((abs(found.low), abs(found.high))) if one.is_clear else (found.low, found.high)
    text = f"{scale.change(low, sign=not one.is_clear)} to {scale.change(high, sign=not one.is_clear)}"
    text = text.replace(" points to", " to")
    together = f", {count_text(pairs, 'pair')} together" if pairs > 1 else ""
    return f"The difference to {one.other.title} is {text} (95 % interval{together})."


def _against_rest(found: Sequence[Comparison]) -> str:
    if len(found) < 2:
        return ""
    others = len(found) - 1
    return f" {'The other one is' if others == 1 else f'The {others} others are'} clearly behind too."


def _single(group: Group, metric: str, scale: Scale, caveats: list[str]) -> Finding:
    interval, count = group.interval, len(group.values)
    assert interval is not None
    headline = f"{metric} {scale.text(interval.value)} with {group.title}"
    if interval.low is None or interval.high is None:
        return Finding("single", headline, ("One run: nothing tells how much of it is luck.", *caveats), group)
    text = f"{scale.text(interval.low)} to {scale.text(interval.high)}"
    deck = f"Mean of {count_text(count, 'seed')}; its 95 % interval is {text}. There is nothing to compare it with."
    return Finding("single", headline, (deck, *caveats), group)


def _one_seed(valued: list[Group], metric: str, mode: str, scale: Scale, caveats: list[str]) -> Finding:
    top = valued[0]
    extreme = "Highest" if mode == "max" else "Lowest"
    value = scale.text(top.interval.value) if top.interval else ""
    if len(valued) == 1:
        headline = f"Only {top.title} has a value of {metric}: {value}"
        return Finding("one seed", headline, ("There is nothing to compare it with.", *caveats), top)
    headline = (
        f"{extreme} of {count_text(len(valued), 'configuration')}: {top.title} with {metric} {value}; it may be luck"
    )
    deck = (
        "With one run for each configuration, nothing tells how much of that is luck, and the best of many is a lucky one: "
        "train the best few with other seeds."
        if all(len(group.values) == 1 for group in valued)
        else "Fewer than two configurations have more than one run, so nothing tells how much of that is luck."
    )
    return Finding("one seed", headline, (deck, *caveats), top)


def _nothing(groups: Sequence[Group], metric: str | None, going: int) -> Finding:
    if not groups:
        return Finding("nothing", "No runs yet", ())
    if going:
        return Finding(
            "nothing", "No run has finished yet", (f"{count_text(going, 'run')} going on.", *_caveats(groups))
        )
    text = f"No run has finished with a value of {metric}" if metric else "No run has measured anything"
    return Finding("nothing", text, tuple(_caveats(groups)))


def _caveats(groups: Sequence[Group]) -> list[str]:
    """What the means leave out, said beside them."""
    said = []
    for group in groups:
        lost = [one for one in group.runs if one.state in ("failed", "killed", "unreadable")]
        if lost and group.values:
            share = f"{len(lost)} of {count_text(len(group.runs), 'run')}"
            said.append(f"{share} of {group.title} did not finish: its mean is of the rest.")
        elif lost:
            said.append(f"{group.title}: no run finished ({len(lost)} of {len(group.runs)} failed).")
    if len(said) > _MOST_NAMED:
        said = [
            *said[: _MOST_NAMED - 1],
            f"Runs of {len(said) - _MOST_NAMED + 1} more configurations did not finish either.",
        ]
    repeats = sum(len(group.repeats) for group in groups)
    if repeats:
        said.append(f"{count_text(repeats, 'repeat')} of a seed not counted again.")
    return said


def _side(mode: str) -> str:
    return "above" if mode == "max" else "below"


def _named(groups: Sequence[Group]) -> str:
    names = [group.title for group in groups]
    if len(names) > _MOST_NAMED:
        names = [*names[: _MOST_NAMED - 1], f"{len(names) - _MOST_NAMED + 1} others"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
