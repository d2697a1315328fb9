"""The report as one SVG picture: the headline, the curves, where the runs ended. It stands alone, in light and in dark."""

from ._chart import chart
from ._colors import DARK, LIGHT
from ._dots import dots, height_of
from ._lines import lines_of
from ._report import Report
from ._svg import element, words, wrapped

_WIDTH, _EDGE, _TALL = 900.0, 32.0, 330.0
_INNER = _WIDTH - 2 * _EDGE
_POINTS = 300
_SANS = "'Helvetica Neue',Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif"
_SERIF = "Georgia,'Times New Roman','Liberation Serif','DejaVu Serif',serif"


def picture(report: Report) -> str:
    """The whole picture as the text of an SVG file."""
    head, below_head = _head(report)
    curves, below_curves = _curves(report, below_head + 42)
    ends, height = _ends(report, below_curves + 50)
    paper = element("rect", width="100%", height="100%", class_="paper")
    body = paper + element("g", head + curves + ends, transform=f"translate({_EDGE:g} 0)")
    return element(
        "svg", f"<style>{_style()}</style>{body}", xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH:g} {height:g}", width=_WIDTH, height=height, role="img",
    ) + "\n"  # fmt: skip


def _head(report: Report) -> tuple[str, float]:
    """Nobody knows the fonts of whoever looks: room is left for wide ones."""
    pieces, y = [], 18.0
    for row in wrapped(report.headline, 25 * 1.22, _INNER)[:4]:
        y += 30
        pieces.append(words(row, 0, y, class_="headline"))
    y += 8
    for row in wrapped(" ".join(report.finding.deck), 14 * 1.08, _INNER)[:5]:
        y += 20
        pieces.append(words(row, 0, y, class_="deck"))
    return "".join(pieces), y


def _curves(report: Report, y: float) -> tuple[str, float]:
    lines = lines_of(report.groups, report.metric, _POINTS) if report.metric else []
    lost = any(not is_meant for line in lines for _, _, is_meant in line.runs)
    note = "line: mean of the seeds; band: from the lowest to the highest seed" + "; dashed: did not finish" * lost
    heads = _titles(report.metric or "Nothing measured", note, y)
    return heads + chart(lines, report.scale, y + 44, _INNER, _TALL), y + 44 + _TALL


def _ends(report: Report, y: float) -> tuple[str, float]:
    title = f"{report.metric or 'Value'} at the {'end' if report.pick == 'last' else 'best of each run'}"
    heads = _titles(title, "dots: seeds; tick: their mean; bar: its 95 % interval (Student's t)", y)
    return heads + dots(report.groups, report.scale, y + 32, _INNER), y + 32 + height_of(report.groups) + 24


def _titles(title: str, note: str, y: float) -> str:
    return words(title, 0, y, class_="title") + words(note, 0, y + 19, class_="soft")


def _style() -> str:
    return (
        f"text{{font:13px {_SANS};fill:#1b1c1e}}.headline{{font:700 25px {_SERIF}}}"
        ".deck{font-size:14px;fill:#4b4e54}.title{font-weight:700;font-size:15px}.soft{fill:#63666d}"
        ".tick,.value{font-variant-numeric:tabular-nums}.tick{font-size:12px}.value{font-weight:600}.label{font-weight:600}"
        ".grid{stroke:#e4e3df}.axis{stroke:#8b8e94}.paper{fill:#fffdfa}path{fill:none}"
        ".line{stroke-width:2.25;stroke-linejoin:round}"
        ".band{fill-opacity:.14;stroke:none}.lost{stroke-width:1.25;stroke-dasharray:4 3;opacity:.8}"
        ".leader{stroke-width:1;opacity:.5}.far{stroke-dasharray:1 4}"
        ".interval{stroke-width:5;opacity:.28;stroke-linecap:butt}.seed{fill-opacity:.75;stroke:none}.mean{stroke-width:2.5}"
        ".line.other{stroke-width:1;opacity:.55}"
        f"{_colors(LIGHT, '#9a9ca1')}"
        "@media(prefers-color-scheme:dark){text{fill:#ecebe7}.deck,.soft{fill:#a9abb0}.grid{stroke:#303236}.axis{stroke:#777a80}"
        f".paper{{fill:#17181a}}{_colors(DARK, '#77797f')}}}"
    )


def _colors(colors: tuple[str, ...], others: str) -> str:
    named = [(f"c{place}", color) for place, color in enumerate(colors)] + [("other", others)]
    return (
        "".join(
            f"path.{name},line.{name}{{stroke:{color}}}text.{name},circle.{name},path.band.{name}{{fill:{color}}}"
            for name, color in named
        )
        + "path.band{stroke:none}"
    )
