"""The report's page in a browser: pointer, keys, toggles, log scale, phone, no network. Skipped where there is none.

Debian's chromium is driven by Playwright, whose wheel brings its driver; no browser is downloaded.
"""

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_report import EVIL, make_run

from loopwright.reports._page import live_page
from loopwright.reports._report import Question, Reader, compare
from loopwright.reports._serve import ReportServer
from loopwright.reports._write import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for lr, top in [(0.1, 0.5), (0.2, 0.8), (0.3, 0.52)]:
        for seed in (1, 2, 3):
            make_run(folder / f"lr{lr}-{seed}", {"lr": lr, "model": EVIL}, seed, [0.1, top / 2, top + 0.01 * seed])
    make_run(folder / EVIL.replace("/", "_"), {"lr": 0.3, "model": EVIL}, 4, [0.1, 0.2], state="failed", reason=EVIL)
    return folder


@pytest.fixture(scope="module")
def html(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("out")
    report(runs, out)
    return f"file://{out / 'report.html'}"


@pytest.fixture
def page(browser: Any, html: str) -> Iterator[Any]:
    """The page; a script error, a dialog, or any request but for the page itself fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on(
        "request", lambda request: wrong.append(request.url) if request.url[:5] not in ("data:", html[:5]) else None
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.goto(html)
    page.wait_for_selector("html[data-ready]")
    yield page
    context.close()
    assert wrong == []


def _line(page: Any, place: int) -> str:
    return page.locator(f'#chart [data-line="{place}"] path.line:not(.raw)').first.get_attribute("d")


def test_lines_are_labelled_and_no_labels_overlap(page: Any) -> None:
    texts = page.locator("#chart text.label").all_text_contents()
    assert [text for text in texts if text.startswith("lr")] == ["lr 0.2", "lr 0.3", "lr 0.1"]
    rows = sorted(float(text.get_attribute("y")) for text in page.locator("#chart text.label").all())
    assert all(other - one >= 14 for one, other in itertools.pairwise(rows))


def test_hover_reads_the_values(page: Any) -> None:
    box = page.locator("#chart svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 100)
    tip = page.locator("#tip")
    assert tip.is_visible()
    text = tip.inner_text()
    assert "step 20" in text and "40.0 %" in text and "lr 0.2" in text
    page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_a_line_can_be_toggled(page: Any) -> None:
    chip = page.locator("#chips button", has_text="lr 0.3")
    assert chip.get_attribute("aria-pressed") == "true" and page.locator('[data-line="1"]').count() > 0
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false" and page.locator('[data-line="1"]').count() == 0
    chip.click()
    assert page.locator('[data-line="1"]').count() > 0


def test_the_log_scale_changes_the_curve_and_back(page: Any) -> None:
    before = _line(page, 0)
    page.get_by_label("Log scale").check()
    assert _line(page, 0) != before
    page.get_by_label("Log scale").uncheck()
    assert _line(page, 0) == before


def test_metric_axis_runs_and_smoothing(page: Any) -> None:
    page.select_option("#metric", "train/loss")
    assert page.locator("#metric").input_value() == "train/loss"
    before = _line(page, 0)
    page.get_by_role("button", name="Epoch").click()
    assert "epochs" in page.locator("#chart svg").text_content()
    page.get_by_role("button", name="Time").click()
    assert "training time" in page.locator("#chart svg").text_content()
    page.get_by_role("button", name="Step").click()
    assert _line(page, 0) == before
    assert page.locator("#chart path.run").count() == 0
    page.get_by_label("Single runs").check()
    assert page.locator("#chart path.run").count() == 9
    page.locator("#smooth").fill("60")
    assert _line(page, 0) != before and "smoothed" in page.locator("#said").inner_text()


def test_the_keyboard_does_what_the_pointer_does(page: Any) -> None:
    page.locator("#chart").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").is_visible()
    first = page.locator("#say").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#say").inner_text() != first and "step 20" in page.locator("#say").inner_text()
    page.keyboard.press("End")
    assert "step 30" in page.locator("#say").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    before = _line(page, 0)
    page.keyboard.press("l")
    assert _line(page, 0) != before and page.get_by_label("Log scale").is_checked()


def test_everything_can_be_reached_by_tab(page: Any) -> None:
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert {"theme", "metric", "log", "runs", "smooth", "chart", "lr 0.2", "Epoch"} <= reached


def test_dark_follows_the_system_and_can_be_chosen(page: Any) -> None:
    def paper() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert dark != light
    page.locator("#theme").click()
    assert paper() == light
    page.locator("#theme").click()
    assert paper() == dark


def test_texts_of_runs_are_shown_and_not_run(page: Any) -> None:
    assert page.locator("script").count() == 2
    assert page.locator('img[src="x"]').count() == 0
    assert "<script>alert(1)" in page.locator("#lost").inner_text()


@pytest.mark.parametrize("width", [320, 375, 768])
def test_nothing_sticks_out_on_a_phone(browser: Any, html: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(html)
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    edge = max(box.bounding_box()["x"] + box.bounding_box()["width"] for box in page.locator("#chart text").all())
    assert edge <= width + 1
    page.locator("#chart").tap(position={"x": width / 2, "y": 120})
    assert page.locator("#tip").is_visible()
    context.close()


def test_without_scripts_there_is_still_a_chart(browser: Any, html: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(html)
    assert page.locator("#chart svg path.line").count() == 3
    context.close()


def test_a_live_page_follows_its_runs_and_keeps_its_controls(browser: Any, tmp_path: Path) -> None:
    for lr in (1, 2):
        for seed in (1, 2):
            make_run(tmp_path / f"{lr}-{seed}", {"lr": lr}, seed, [0.1, 0.2 * lr + 0.01 * seed])
    from playwright.sync_api import expect

    reader, server = Reader(), ReportServer()
    context = browser.new_context()
    try:
        server.show(*live_page(compare(*reader.read([tmp_path]), Question())))
        page = context.new_page()
        page.goto(server.url)
        page.wait_for_selector("html[data-ready]")
        page.get_by_label("Log scale").check()
        assert "lr\u00a02:" in page.locator("h1").inner_text()
        for seed in (1, 2):
            with open(tmp_path / f"1-{seed}" / "metrics.jsonl", "a") as file:
                line = {"kind": "evaluation", "step": 30, "epoch": 2, "val/top1": 0.9 + 0.01 * seed}
                file.write(json.dumps(line) + "\n")
        server.show(*live_page(compare(*reader.read([tmp_path]), Question())))
        expect(page.locator("h1")).to_contain_text("lr 1:", timeout=15_000)
        assert page.get_by_label("Log scale").is_checked()
        assert page.locator("#chart text.label").first.text_content() == "lr 1"
    finally:
        context.close()
        server.close()
    assert re.match(r"http://127\.0\.0\.1:\d+/$", server.url)


def test_batches_of_another_size_are_compared_by_epochs(browser: Any, tmp_path: Path) -> None:
    make_run(tmp_path / "a", {"batch_size": 1}, 1, [0.1, 0.2, 0.3])
    folder = make_run(tmp_path / "b", {"batch_size": 2}, 1, [0.1, 0.2, 0.3])
    for name in ("metrics.jsonl", "speed.jsonl"):
        (folder / name).write_text(re.sub(r'("step": \d)0', r"\1", (folder / name).read_text()))
    report(tmp_path, tmp_path / "out")
    page = browser.new_page()
    page.goto(f"file://{tmp_path / 'out' / 'report.html'}")
    page.wait_for_selector("html[data-ready]")
    assert page.locator('#axis [aria-pressed="true"]').inner_text() == "Epoch"
    page.close()


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> str:
    from test_report_pictures import log_sheets

    folder = tmp_path_factory.mktemp("pictured")
    for seed in (1, 2):
        log_sheets(make_run(folder / "runs" / f"a-{seed}", {"lr": 1}, seed, [0.1, 0.2]), [10, 40, 200])
    report(folder / "runs", folder / "out")
    return f"file://{folder / 'out' / 'report.html'}"


@pytest.mark.parametrize("width", [360, 1280])
def test_pictures_follow_their_slider_and_grow(browser: Any, pictured: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(pictured)
    page.wait_for_selector("html[data-ready]")
    figure, slider = page.locator("figure").first, page.locator("figure input").first
    assert figure.locator("img:visible").get_attribute("data-step") == "200"
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert figure.locator("img:visible").get_attribute("data-step") == "40"
    assert figure.locator("output").inner_text() == slider.get_attribute("aria-valuetext") == "step 40"
    figure.locator(".picture").click()
    assert page.locator("dialog img").get_attribute("data-step") == "40"
    assert page.locator("dialog img").bounding_box()["width"] == 640
    page.keyboard.press("Escape")
    assert page.locator("dialog").is_hidden()
    figure.locator(".picture").click()
    page.locator("dialog img").click(position={"x": 20, "y": 20})
    assert page.locator("dialog").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_without_scripts_the_newest_picture_is_there_and_no_slider(browser: Any, pictured: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pictured)
    assert page.locator("figure img:visible").get_attribute("data-step") == "200"
    assert page.locator("figure input").is_hidden()
    context.close()


def test_a_chosen_step_stays_while_the_page_follows_its_runs(browser: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect
    from test_report_pictures import log_sheets

    run = make_run(tmp_path / "a-1", {"lr": 1}, 1, [0.1, 0.2])
    log_sheets(run, [10, 40])
    reader, server = Reader(), ReportServer()
    page = browser.new_page()
    try:
        server.show(*live_page(compare(*reader.read([tmp_path]), Question())))
        page.goto(server.url)
        page.wait_for_selector("html[data-ready]")
        page.locator("figure input").focus()
        page.keyboard.press("ArrowLeft")
        log_sheets(run, [90])
        server.show(*live_page(compare(*reader.read([tmp_path]), Question())))
        expect(page.locator("figure img")).to_have_count(3, timeout=15_000)
        assert page.locator("figure img:visible").get_attribute("data-step") == "10"
    finally:
        page.close()
        server.close()
