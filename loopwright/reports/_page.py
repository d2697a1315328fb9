"""The report as one HTML page that needs nothing else: no network, no other file. Every text of a run is escaped.

Should an escape ever be forgotten, the page's content policy still runs no script but its own, which it names by checksum.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib.resources import files

from .._yaml import MISSING
from ._chart import chart
from ._colors import color_class
from ._dots import reach_of
from ._finding import Comparison
from ._gallery import gallery
from ._group import RUN_NAME, Group, value_of_run
from ._lines import lines_of
from ._numbers import Scale, count_text, plain_number, time_text
from ._one_run import OneRun
from ._payload import MOST_POINTS, payload, payload_text, version_of
from ._report import Report
from ._settings import BASELINE, short_names, value_of
from ._svg import clean, element, text_of
from ._sweep_file import Share

_MOST_OPEN = 30  # rows of the table of runs; more are shown when asked for


def page(report: Report) -> str:
    """The whole page as text."""
    return _page(report, payload_text(payload(report)), _body(report), live=False)


def live_page(report: Report) -> tuple[str, str]:
    """A page that is served and looks whether there is news, and its version."""
    data, body = payload(report), _body(report)
    version = version_of(payload_text(data) + body + _head(report))
    return _page(report, payload_text(data | {"version": version}), body, live=True), version


def _page(report: Report, data: str, body: str, *, live: bool) -> str:
    script = _asset("page.js")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_checksum(script)}'; "
    policy += f"connect-src '{'self' if live else 'none'}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{text_of(report.headline)}</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n"
        f'{_header(report, live)}{body}<dialog id="large" aria-label="Picture"></dialog>\n'
        f'<script type="application/json" id="data">{data}</script>\n<script>{script}</script>\n</body>\n</html>\n'
    )


def _asset(name: str) -> str:
    return files(__package__ or "").joinpath("assets", name).read_text(encoding="utf-8")


def _checksum(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


# ---- parts ----------------------------------------------------------------------------------------------------------


def _header(report: Report, live: bool) -> str:
    status = '<span id="live" class="live">live</span>' if live else ""
    return (
        f'<header><div class="over"><p>loopwright report, {time.strftime("%-d %B %Y")} {status}</p>'
        f'<button id="theme" type="button" hidden>Dark</button></div>{_live("head", _head(report))}</header>\n'
    )


def _live(name: str, content: str, tag: str = "div") -> str:
    """A part of the page that is replaced when there is news."""
    return f'<{tag} id="{name}" data-live="">{content}</{tag}>'


def _head(report: Report) -> str:
    deck, *rest = report.finding.deck or ("",)
    also = f'<p class="note also">{text_of(" ".join(rest))}</p>' if rest else ""
    headline = text_of(report.headline)
    for group in report.groups:  # a short name is not broken over two lines
        if len(group.title) <= 24 and group.title in report.headline:
            headline = headline.replace(text_of(group.title), text_of(group.title).replace(" ", "&nbsp;"))
    return f"<h1>{headline}</h1>" + (f'<p class="deck">{text_of(deck)}</p>' if deck else "") + also


def _body(report: Report) -> str:
    parts = [
        _curves(report),
        _live("ends", _ends(report), "section"),
        _live("lost", _lost(report), "section"),
        _live("table", _table(report), "section"),
        _live("matter", _importance(report), "section"),
        _live("sheets", gallery(report), "section"),
        _live("runs-list", _runs(report), "section"),
    ]
    return f"<main>\n{''.join(parts)}</main>\n<footer>{_live('foot', _foot(report))}</footer>\n"


def _curves(report: Report) -> str:
    lines = lines_of(report.groups, report.metric, 200) if report.metric else []
    still = element("svg", chart(lines, report.scale, 14, 940, 400, "still"), viewBox="0 0 940 430", role="img")
    keys = "Arrow keys read values, L: log scale, R: single runs, Esc: leave"
    return (
        '<section aria-label="Curves"><div class="controls" hidden>'
        '<label><span class="aside">Metric</span><select id="metric"></select></label>'
        '<span class="choice" id="axis" role="group" aria-label="Horizontal axis"></span>'
        '<label><input type="checkbox" id="log"> Log scale</label>'
        '<label><input type="checkbox" id="runs"> Single runs</label>'
        '<label>Smoothing <input type="range" id="smooth" min="0" max="100" value="0"></label></div>'
        '<div class="chips" id="chips" role="group" aria-label="Show or hide"></div>'
        '<div id="chart" tabindex="0" role="group" aria-roledescription="line chart" '
        f'aria-label="{text_of(_alt(report))}">{still}'
        '<div id="tip" class="tip" hidden></div></div>'
        f'<p class="note hint"><span id="said"></span> <span class="keys">{keys}.</span></p>'
        '<p class="aside" id="say" aria-live="polite"></p></section>\n'
    )


def _alt(report: Report) -> str:
    return f"{report.metric or 'Nothing measured'} step by step. {report.headline}. Arrow keys read the values."


def _ends(report: Report) -> str:
    shown = [group for group in report.groups if group.values]
    if not shown:
        return ""
    low, high = reach_of(shown)
    which = "Where the runs ended" if report.pick == "last" else "The best of each run"
    rows = "".join(_end(report, group, low, high) for group in shown[:_MOST_OPEN])
    more = len(shown) - _MOST_OPEN
    left = f'<p class="note">and {more:,} more in the table below</p>' if more > 0 else ""
    return (
        f"<h2>{which}: {text_of(report.metric)}</h2>"
        '<p class="note">Dots: seeds. Tick: their mean. Bar: its 95 % interval (Student’s t); one that reaches the edge '
        "goes on beyond it.</p>"
        f'<div class="ends">{rows}</div>{left}'
    )


def _end(report: Report, group: Group, low: float, high: float) -> str:
    place, interval = report.groups.index(group), group.interval
    assert interval is not None
    name = color_class(place)
    span = _span(interval.low, interval.high, report.scale) or "one run"
    return (
        f'<div class="row" data-g="{place}"><span class="name {name}t">{text_of(group.title)}</span>'
        f'<svg class="strip" role="img" aria-label="{text_of(", ".join(map(report.scale.text, group.values)))}">'
        f"{''.join(_strip(group, name, low, high, report.scale))}</svg>"
        f'<span class="value">{text_of(report.scale.text(interval.value))}</span>'
        f'<span class="span">{text_of(span)}</span></div>'
    )


def _strip(group: Group, name: str, low: float, high: float, scale: Scale) -> Iterable[str]:
    def at(value: float) -> str:
        return f"{100 * (min(max(value, low), high) - low) / (high - low):.2f}%"

    interval = group.interval
    yield element("line", x1="0%", x2="100%", y1=16, y2=16, class_="grid")
    if interval and interval.low is not None and interval.high is not None:
        yield element("line", x1=at(interval.low), x2=at(interval.high), y1=16, y2=16, class_=f"interval {name}")
    for one, value in zip(group.counted, group.values, strict=True):
        tip = element("title", escape(clean(f"{one.name}: {scale.text(value)}")))
        yield element("circle", tip, cx=at(value), cy=16, r=5, class_=f"seed {name}")
    if interval:
        yield element("line", x1=at(interval.value), x2=at(interval.value), y1=6, y2=26, class_=f"mean {name}")


def _lost(report: Report) -> str:
    if not report.unfinished:
        return ""
    rows = [
        (one.name, _titles(report, one), _state(one), _last(report, one), _steps(one), _why(one))
        for one in report.unfinished
    ]
    heads = ("run", "configuration", "state", f"last {report.metric or ''}", "step", "why")
    count = count_text(len(rows), "run")
    return (
        f"<h2>{count} not finished</h2>"
        '<p class="note">Drawn dashed, and counted in no mean, interval or comparison.</p>'
        + _grid(heads, rows, ("k", "k", "state", "n", "n", "w"))
    )


def _table(report: Report) -> str:
    if not report.groups:
        return ""
    keys = list(dict.fromkeys(key for group in report.groups for key in group.settings))
    keys = [key for key in keys if key != RUN_NAME or len(keys) == 1]
    names = short_names(keys)
    against = {id(one.other): one for one in report.finding.comparisons}
    is_compared = bool(against)
    heads = (
        "",
        f"{report.metric or 'value'}",
        *(names[key] for key in keys),
        "95 % interval",
        "runs",
        "time",
        "samples/s",
        "waiting",
    )
    heads = (*heads, "against the best", "") if is_compared else heads
    kinds = ("", "n", *("k" for _ in keys), "n", "n", "n", "n", "n", *(("n", "k") if is_compared else ()))
    rows = [
        (
            _swatch(place), _mean(report, group), *(value_of(group.settings.get(key, MISSING)) for key in keys),
            *_numbers(report, group),
            *(_against(report, group, against.get(id(group))) if is_compared else ()),
        )
        for place, group in enumerate(report.groups)
    ]  # fmt: skip
    what = "Settings that differ, best first" if len(report.groups) > 1 else "The configuration"
    seeds = "the seed" if len(report.groups) > 1 else "Nothing but the seed differs"
    note = f"All else is the same, but for {seeds}." if len(report.groups) > 1 else f"{seeds}."
    if any(group.label == (BASELINE,) for group in report.groups):
        note += " The baseline has the most common value of every setting."
    if RUN_NAME in keys:
        note = (
            "These runs recorded no settings: they are grouped by the names of their folders without the last number."
        )
    return f'<h2>{what}</h2><p class="note">{note}</p>' + _grid(heads, rows, kinds, mark=True)


def _mean(report: Report, group: Group) -> str:
    return report.scale.text(group.interval.value) if group.interval else "–"


def _numbers(report: Report, group: Group) -> tuple[str, ...]:
    found = group.interval
    span = _span(found.low, found.high, report.scale) if found else ""
    runs = (
        f"{len(group.counted)}"
        if len(group.counted) == len(group.runs)
        else f"{len(group.counted)} of {len(group.runs)}"
    )
    paces = [one.pace for one in (group.counted or group.runs)]

    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    rate, waiting = mean(pace.rate for pace in paces), mean(pace.waiting for pace in paces)
    return (
        span, runs, time_text(mean(pace.seconds for pace in paces)),
        "" if rate is None else plain_number(rate, 3), "" if waiting is None else f"{100 * waiting:.0f} %",
    )  # fmt: skip


def _against(report: Report, group: Group, found: Comparison | None) -> tuple[str, str]:
    if group is report.finding.leader:
        return "", "the best"
    if found is None:
        return "", "not compared" if group.values else ""
    low, high = found.difference.low, found.difference.high
    if low is None or high is None:
        return report.scale.change(-found.difference.value), "no interval"
    span = f"{report.scale.change(-high)} to {report.scale.change(-low)}".replace(" points to", " to")
    return span, "clear" if found.is_clear else "may be chance"


def _importance(report: Report) -> str:
    sweeps = [sweep for sweep in report.sweeps if sweep.importance]
    if not sweeps:
        return ""
    parts = [
        "<h2>What matters</h2>"
        '<p class="note">The share of the differences between finished trials that goes with one setting (epsilon squared '
        "of their ranks). What matters only together with another setting is not found. Grey: may be chance.</p>"
    ]
    for sweep in sweeps:
        parts.append(f"<p>{text_of(sweep.folder)}</p>" if len(sweeps) > 1 else "")
        parts.append(f'<div class="bars">{"".join(map(_bar, sweep.importance))}</div>')
    return "".join(parts)


def _bar(share: Share) -> str:
    weak = share.share is None or share.p is None or share.p > 0.05
    rect = element("rect", width=f"{100 * (share.share or 0):.1f}%", height=12)
    return (
        f'<span>{text_of(share.key)}</span><span class="bar{" weak" if weak else ""}"><svg>{rect}</svg></span>'
        f'<span class="said">{text_of(share.verdict)}</span>'
    )


def _runs(report: Report) -> str:
    if not report.runs:
        return ""
    heads = (
        "",
        "run",
        "seed",
        "state",
        f"last {report.metric or ''}",
        "best",
        "at step",
        "steps",
        "time",
        "samples/s",
        "waiting",
        "notes",
    )
    kinds = ("", "k", "n", "state", "n", "n", "n", "n", "n", "n", "n", "w")
    rows = [_run_row(report, place, one) for place, group in enumerate(report.groups) for one in group.runs]
    grid = _grid(heads, rows, kinds, mark=True)
    is_open = " open" if len(rows) <= _MOST_OPEN else ""
    return f"<details{is_open}><summary>All {count_text(len(rows), 'run')}</summary>{grid}</details>"


def _run_row(report: Report, place: int, one: OneRun) -> tuple[str, ...]:
    curve = one.curves.get(report.metric or "")
    best = curve.best(report.mode) if curve and report.mode else None
    pace = one.pace
    return (
        _swatch(place), one.name, "" if one.seed is None else str(one.seed), _state(one), _last(report, one),
        report.scale.text(best[1]) if best else "", f"{best[0]:,}" if best else "", _steps(one), time_text(pace.seconds),
        "" if pace.rate is None else plain_number(pace.rate, 3),
        "" if pace.waiting is None else f"{100 * pace.waiting:.0f} %", _why(one) if one.is_done else "; ".join(one.notes),
    )  # fmt: skip


def _foot(report: Report) -> str:
    finding, said = report.finding, []
    if finding.pairs:
        pairs = count_text(finding.pairs, "pair")
        said.append(
            "How it was judged: groups of runs that differ in their seed only, by their "
            f"{report.pick} value of {report.metric}. Their means are compared by Welch’s t; the intervals hold for all "
            f"{pairs} together (95 %, Bonferroni), so the best may be picked after looking. A difference is clear where its "
            "interval leaves out zero. It is about other seeds "
            "on the same validation data, not about other data."
        )
    said.append(
        "Curves with many points are drawn from the lowest and highest of each stretch, so spikes stay "
        f"(about {MOST_POINTS:,} points in all). Times are of whole epochs with their evaluations; samples a second "
        "are of training over that time. Waiting is the share in which the loop waited for data."
    )
    said.extend(report.notes)
    return f"<div>{''.join(f'<p>{text_of(line)}</p>' for line in said)}</div>"


# ---- cells ----------------------------------------------------------------------------------------------------------


class _Markup(str):
    """HTML that is finished; all other cells are escaped."""


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str], *, mark: bool = False) -> str:
    kept = [column for column in range(len(heads)) if not heads[column] or any(row[column] for row in rows)]
    head = "".join(f'<th scope="col"{_class(kinds[c])}>{text_of(heads[c])}</th>' for c in kept)
    cell: Callable[[str], str] = lambda value: value if isinstance(value, _Markup) else text_of(value)  # noqa: E731
    body = "".join(
        f"<tr{_group_mark(row) if mark else ''}>{''.join(f'<td{_class(kinds[c])}>{cell(row[c])}</td>' for c in kept)}</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{table}</div>'


class _Swatch(_Markup):
    place: int = 0


def _swatch(place: int) -> _Swatch:
    swatch = _Swatch(f'<span class="swatch {color_class(place)}"></span>')
    swatch.place = place
    return swatch


def _group_mark(row: Sequence[str]) -> str:
    return f' data-g="{row[0].place}"' if isinstance(row[0], _Swatch) else ""


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _state(one: OneRun) -> _Markup:
    bad = " bad" if one.state in ("failed", "killed", "unreadable") else ""
    return _Markup(f'<span class="state{bad}">{text_of(one.state)}</span>')


def _titles(report: Report, one: OneRun) -> str:
    return next((group.title for group in report.groups if any(each is one for each in group.runs)), "")


def _last(report: Report, one: OneRun) -> str:
    value = value_of_run(one, report.metric, report.mode, "last")
    return "" if value is None else report.scale.text(value)


def _steps(one: OneRun) -> str:
    steps = [curve.steps[-1] for curve in one.curves.values() if curve.steps]
    return f"{max(steps):,}" if steps else ""


def _why(one: OneRun) -> str:
    broken = {name: curve.broken_at for name, curve in one.curves.items() if curve.broken_at is not None}
    first = min(broken.items(), key=lambda item: item[1], default=None)
    said = [f"{first[0]} is not finite from step {first[1]}"] if first else []
    return "; ".join([*([one.reason] if one.reason else []), *said, *one.notes])


def _span(low: float | None, high: float | None, scale: Scale) -> str:
    if low is None or high is None:
        return ""
    return f"{scale.text(low).removesuffix(' %')} to {scale.text(high)}"
