"""The report in a real browser: it opens from a disk, offline, runs nothing but itself, and everyone can use it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from scichain_wf.audit import Result
from scichain_wf.report.html import to_html
from tests.browser.stories import HOSTILE, story

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
MADE_US = 1_750_000_900_000_000
SIZE_BYTES_MAX = 15_000_000
WAIT_MS = 120_000
"""For a machine that is busy; a page that never gets there fails all the same."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=options, timeout=WAIT_MS)
        yield running
        running.close()


class Reader:
    """Opens reports, and notes everything a browser complains about or asks the world for."""

    def __init__(self, browser: Browser, directory: Path) -> None:
        self.browser, self.path = browser, directory / "report.html"
        self.complaints: list[str] = []

    def open(self, result: Result, **options: Any) -> Page:
        path = self.path
        path.write_text(to_html(result, "1.2.3", MADE_US), encoding="utf-8")
        context = self.browser.new_context(offline=True, **options)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("request", lambda request: self.complaints.extend([request.url] * (request.url != path.as_uri())))
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready=yes]", state="attached")
        return page


@pytest.fixture
def reader(browser: Browser, tmp_path: Path) -> Iterator[Reader]:
    made = Reader(browser, tmp_path)
    yield made
    assert not made.complaints


def test_thousand_tasks_open_and_can_be_searched_and_read(reader: Reader) -> None:
    page = reader.open(story(1_000))
    assert page.locator("section").count() == 11
    assert page.locator(".banner .word").inner_text() == "FAILED"
    page.fill("#search-artifacts", "align SAMPLE00042")
    status = page.locator("[data-table=artifacts] [role=status]")
    page.wait_for_function("e => e.textContent.startsWith('2 of')", arg=status.element_handle())
    page.locator("[data-table=artifacts] tbody button").first.click()
    chosen = page.locator("#chosen")
    assert "results/align/sample00042.bam" in chosen.locator("h3").first.inner_text()
    assert "Made from: 4 tasks" in chosen.inner_text()  # align, trim, index_reference, fetch
    assert "Made from it: 6 tasks" in chosen.inner_text()
    assert page.locator("#graph .box.lit").count() == 10
    chosen.get_by_role("button", name="align sample=00042").first.click()
    assert chosen.locator("h3").first.inner_text() == "align sample=00042"
    chosen.get_by_role("button", name="Close").click()
    assert page.locator("#graph .box.lit").count() == 0


def test_rows_exist_only_where_they_are_seen_and_filters_narrow_them(reader: Reader) -> None:
    page = reader.open(story(1_000))
    rows = page.locator("[data-table=tasks] tbody tr[aria-rowindex]")
    assert 10 < rows.count() < 60
    box = page.locator("[data-table=tasks] .rows")
    box.focus()
    page.keyboard.press("End")  # scrolls with the keyboard alone
    page.wait_for_selector("[data-table=tasks] tr[aria-rowindex='1001']")
    page.select_option("#filter-tasks", "failed")
    assert page.locator("[data-table=tasks] [role=status]").inner_text() == "10 of 1,000"
    page.locator("[data-table=blocks] tr[aria-rowindex='10'] button").click()  # rows come and go as it scrolls
    assert "scichain-wf ledger proof 11 --json" in page.locator("#block").inner_text()


def test_hostile_names_are_text_everywhere(reader: Reader) -> None:
    page = reader.open(story(30, suffix=HOSTILE))
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    page.locator("[data-table=artifacts] tbody button").nth(3).click()
    page.locator("#chosen button").first.click()
    page.locator("[data-table=blocks] tbody button").first.click()
    page.fill("#search-tasks", "<img")
    assert "<img src=x onerror=alert(1)>" in page.locator("#chosen").inner_text()
    assert page.evaluate("document.documentElement.outerHTML.includes('\\u202e')") is False


def test_script_that_got_in_would_not_run(reader: Reader, tmp_path: Path) -> None:
    page = reader.open(story(10))
    add = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
    page.evaluate(f"() => {{ {add} }}")
    assert page.evaluate("window.ran === undefined")
    assert len(reader.complaints) == 1
    assert "Content Security Policy" in reader.complaints.pop()


def test_first_sections_need_no_script(reader: Reader) -> None:
    page = reader.open(story(100), java_script_enabled=False)
    assert "FAILED" in page.locator("#s1").inner_text()
    assert "every link: canonical" in page.locator("#s2").inner_text()
    assert "SC-FILE-001" in page.locator("#s3").inner_text()
    assert "needs the report's script" in page.locator("#s9").inner_text()


@pytest.mark.parametrize("options", [
    {"color_scheme": "light", "viewport": {"width": 1400, "height": 900}},
    {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}},
], ids=["light and wide", "dark and narrow"])
def test_everyone_can_use_it(reader: Reader, options: dict[str, Any]) -> None:
    page = reader.open(story(60), **options)
    page.locator("[data-table=artifacts] tbody button").first.click()  # a name without a place to break it
    page.locator("[data-table=blocks] tbody button").first.click()
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    assert not [(v["id"], v["nodes"][0]["target"]) for v in found.response["violations"]]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # the page never scrolls sideways


def test_print_has_all_that_is_not_for_clicking(reader: Reader) -> None:
    page = reader.open(story(50))
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.locator("[data-table=tasks]").is_visible()
    assert page.locator("#graph").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("tasks", [0, 1])
def test_next_to_nothing_is_a_report_too(reader: Reader, tasks: int) -> None:
    page = reader.open(story(tasks, failed=False, nodes=1))
    assert page.locator(".banner .word").inner_text() == "VERIFIED"


def test_hundred_thousand_tasks_still_open(reader: Reader) -> None:
    result = story(100_000, nodes=16)
    begun = time.perf_counter()
    page = reader.open(result)
    opened = time.perf_counter()
    ready = page.evaluate("performance.now()")
    page.fill("#search-artifacts", "plot sample09999.bam")
    status = page.locator("[data-table=artifacts] [role=status]")
    page.wait_for_function("e => e.textContent.startsWith('1 of')", arg=status.element_handle())
    searched = page.evaluate("performance.now()")
    page.locator("[data-table=artifacts] tbody button").first.click()
    assert "results/plot/sample09999.bam" in page.locator("#chosen h3").first.inner_text()
    size_bytes = reader.path.stat().st_size
    print(f"\nbuilt and opened in {opened - begun:.1f} s, {size_bytes / 1e6:.1f} MB, usable after {ready / 1e3:.1f} s, "
          f"searched in {(searched - ready) / 1e3:.1f} s")
    assert size_bytes <= SIZE_BYTES_MAX
