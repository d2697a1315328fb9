"""Sample pictures of a report's runs, small, as HTML: what changes with the step has a slider. Every text is escaped."""

from collections.abc import Iterable, Sequence

from ._colors import color_class
from ._group import Group
from ._one_run import PICTURE, OneRun
from ._picture import MOST_BYTES, WIDEST, small_picture
from ._report import Report
from ._sheets import SheetFile, some
from ._svg import text_of

_MOST_PICTURED = 4  # configurations
_MOST_SHEETS = 6  # pictures that change with the step, of all configurations
_STEPS = 3  # of each
_WIDEST_LAST = 1000  # pixels of the sheet of the end, which has eight pictures side by side
_ALL_BYTES = 240_000  # of all pictures together, before they become text

_Sheets = tuple[Group, OneRun, str, Sequence[SheetFile]]


def gallery(report: Report) -> str:
    """The section's content; empty where no run has pictures."""
    chosen = [(group, one) for group in report.groups if (one := _pictured(report, group))][:_MOST_PICTURED]
    wanted = list(_sheets(chosen))
    count = sum(len(sheets) for *_, sheets in wanted)
    most = min(MOST_BYTES, _ALL_BYTES // max(1, count))
    figures = [_figure(report, group, one, name, sheets, most) for group, one, name, sheets in wanted]
    if not any(figures):
        return ""
    return (
        "<h2>Sample pictures</h2>"
        '<p class="note">Of the best run of each configuration, made smaller. The originals are in the runs’ folders, in '
        f"pictures/ and as {PICTURE}.</p>"
        f'<div class="pictures">{"".join(figures)}</div>'
    )


def _sheets(chosen: Sequence[tuple[Group, OneRun]]) -> Iterable[_Sheets]:
    """What is shown: the sheets of the record, of each configuration the first name before any second one, then those of
    the end, where there are no others or of the best."""
    names = [(place, group, one, name) for group, one in chosen for place, name in enumerate(one.sheets)]
    shown = sorted(names, key=lambda row: row[0])[:_MOST_SHEETS]
    order = {id(group): place for place, (group, _) in enumerate(chosen)}
    for _, group, one, name in sorted(shown, key=lambda row: (row[0], order[id(row[1])])):
        yield group, one, name, some(one.sheets[name], _STEPS)
    for place, (group, one) in enumerate(chosen):
        if one.has_picture and (place == 0 or not one.sheets):
            yield group, one, "predictions at the end", [SheetFile(-1, one.folder / PICTURE)]


def _figure(report: Report, group: Group, one: OneRun, name: str, sheets: Sequence[SheetFile], most: int) -> str:
    """A picture, or one that changes with the step: all but the newest wait hidden."""
    widest = WIDEST if sheets[-1].step >= 0 else _WIDEST_LAST
    drawn = [(sheet.step, uri) for sheet in sheets if (uri := small_picture(sheet.path, most, widest))]
    if not drawn:
        return ""
    place = report.groups.index(group)
    images = "".join(
        f'<img src="{uri}" alt="{text_of(name)} of {text_of(one.name)}{f", step {step:,}" if step >= 0 else ""}" '
        f'data-step="{step:,}"{"" if number == len(drawn) - 1 else " hidden"}>'
        for number, (step, uri) in enumerate(drawn)
    )
    newest = drawn[-1][0]
    when = f"<output>step {newest:,}</output>" if newest >= 0 else ""
    slider = (
        f'<label class="steps"><span class="aside">Step of {text_of(name)} of {text_of(one.name)}</span>'
        f'<input type="range" min="0" max="{len(drawn) - 1}" value="{len(drawn) - 1}" '
        f'aria-valuetext="step {newest:,}" hidden>'
        f"{when}</label>"
    )
    return (
        f'<figure data-sheet="{text_of(one.name)}: {text_of(name)}">'
        f'<button type="button" class="picture" title="Larger">{images}</button>'
        f'<figcaption><span class="swatch {color_class(place)}"></span> {text_of(group.title)}: {text_of(name)}, '
        f'<span class="soft">{text_of(one.name)}</span>{slider if newest >= 0 else ""}</figcaption></figure>'
    )


def _pictured(report: Report, group: Group) -> OneRun | None:
    """The best run of a configuration that has pictures."""
    sign = -1 if report.mode == "max" else 1
    pairs = sorted(zip(group.values, group.counted, strict=True), key=lambda pair: sign * pair[0])
    runs = [*(one for _, one in pairs), *group.runs]
    return next((one for one in runs if one.has_picture or one.sheets), None)
