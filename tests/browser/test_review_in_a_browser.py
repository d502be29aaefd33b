"""The review pages in Debian's Chromium: what only a browser can tell. Nothing is downloaded for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright
from reviewing import small_log

from hyperguild.domain.records import RunResult

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
T = TypeVar("T")
WAIT_MS = 20_000
STOP_S = 20
expect.set_options(timeout=WAIT_MS)


class Served:
    """The command, serving a log in a process of its own."""

    def __init__(self, log: Path) -> None:
        self.log = log
        argv = [sys.executable, "-m", "hyperguild", "--db", str(log), "review", "--web", "--as", "ann"]
        self.process = subprocess.Popen(
            argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=log.parent
        )
        assert self.process.stderr is not None
        self.url = self.process.stderr.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.url + self.process.stderr.read()
        self.origin = self.url.partition("/?")[0]

    def stop(self) -> int:
        """End it as Ctrl-C does; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=STOP_S)
        finally:
            self.process.kill()
            self.process.wait()
        return self.process.returncode


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    log = tmp_path_factory.mktemp("browser") / "sessions.db"
    return {"log": log, **done(small_log(log))}


@pytest.fixture(scope="module")
def served(runs: dict[str, Any]) -> Generator[Served, None, None]:
    server = Served(runs["log"])
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Generator[Browser, None, None]:
    with sync_playwright() as playwright:
        # Its own sandbox does not start as root, or within another; the pages are ours. Nobody looks: no GPU.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, served: Served) -> Generator[Page, None, None]:
    """A page of the log, by its address with the token; it must neither complain nor ask anybody else."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    asked: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    def requested(request: Request) -> None:
        asked.append(request.url)

    opened.on("console", heard)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", requested)
    opened.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    opened.goto(served.url)
    yield opened
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(f"{served.origin}/")] == []


def done(work: Coroutine[Any, Any, T]) -> T:
    """Wait for a coroutine. Playwright has an event loop running in this thread: it needs another."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def test_find_a_run_label_an_answer_by_a_key_and_see_the_figures_change(
    page: Page, served: Served, runs: dict[str, RunResult]
) -> None:
    assert "token" not in page.url
    page.goto(f"{served.origin}/statistics?label=good&days=all")
    expect(page.get_by_text("No run fits.")).to_be_visible()
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_text("Filters").click()
    page.get_by_label("Model").fill("claude-sonnet-4-6")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("[data-item]")).to_have_count(1)
    page.wait_for_load_state()  # the keys are there once the script has run
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("review")
    page.wait_for_load_state()
    assert page.url.endswith(runs["escalated"].run_id)

    page.keyboard.press("j")
    expect(page.locator("#attempt-1")).to_be_focused()
    page.locator("#attempt-1").get_by_text("Prompt", exact=True).click()
    page.get_by_label("Note").first.fill("g, typed into a note, is no key")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    expect(page.locator("#news")).to_have_text("Labelled good.")
    expect(page.locator("#attempt-1 .labels")).to_contain_text("ann: g, typed into a note, is no key")
    expect(page.locator("#attempt-1 [data-key=g]")).to_have_attribute("aria-pressed", "true")
    assert page.locator("#prompt-1").get_attribute("open") is not None  # what was open stays so
    assert page.url.endswith(runs["escalated"].run_id)

    page.goto(f"{served.origin}/statistics?label=good&days=all")
    expect(page.locator("#whole-runs")).to_contain_text("1")
    page.goto(f"{served.origin}/calibration")
    expect(page.locator("circle.point")).to_have_count(1)

    page.goto(f"{served.origin}/runs/{runs['escalated'].run_id}")
    page.keyboard.press("0")
    expect(page.locator("#news")).to_have_text("Label taken back.")
    expect(page.locator("#attempt-1 .labels")).to_have_count(0)


def test_the_address_opens_from_a_terminal_that_is_a_page_of_another_site(
    browser: Browser, served: Served
) -> None:
    context = browser.new_context()
    terminal = context.new_page()
    terminal.set_default_timeout(WAIT_MS)
    terminal.route(
        "http://terminal.test/",
        lambda route: route.fulfill(body=f"<a href='{served.url}'>open</a>", content_type="text/html"),
    )
    terminal.goto("http://terminal.test/")
    terminal.get_by_text("open").click()
    expect(terminal.get_by_role("heading", level=1)).to_have_text("Runs")
    context.close()


def test_the_queue_is_gone_through_with_single_keys(page: Page, served: Served) -> None:
    page.goto(f"{served.origin}/review")
    waiting = int(page.locator("#live p").first.inner_text().split()[0])
    first = page.locator("form.label").get_attribute("action")
    page.keyboard.press("b")
    expect(page.locator("#live p").first).to_contain_text(f"{waiting - 1} to label")
    assert page.locator("form.label").get_attribute("action") != first
    page.keyboard.press("0")
    expect(page.locator("#live p").first).to_contain_text("1 passed over")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_run_of_another_process_appears_by_itself(page: Page, served: Served) -> None:
    expect(page.locator("[data-item]").first).to_be_visible()
    before = page.locator("[data-item]").count()
    page.evaluate("window.sameDocument = true")
    writer = [sys.executable, "-m", "reviewing", str(served.log), "written while you look"]
    subprocess.run(writer, check=True, timeout=60, env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    expect(page.locator("[data-item]")).to_have_count(before + 1)
    expect(page.locator("[data-item]").first).to_contain_text("written while you look")
    assert page.evaluate("window.sameDocument")


def test_what_models_write_is_shown_as_text(page: Page, served: Served, runs: dict[str, RunResult]) -> None:
    page.goto(f"{served.origin}/runs/{runs['hostile'].run_id}?from=1&to=2")
    answer = page.locator("#answer-1 pre")
    expect(answer).to_contain_text("<script>document.title = 'owned'</script>")
    expect(answer).to_contain_text("[a link](javascript:alert(1))")
    expect(answer).to_contain_text("\\u202egnp.exe\\u202c nul\\u0000byte")
    expect(answer).to_contain_text("\\u001b[31mred")
    assert "owned" not in page.title()
    assert page.locator("main a[href^='javascript'], main script, main img").count() == 0


def test_every_page_fits_a_telephone_and_keeps_nobody_out(
    browser: Browser, page: Page, served: Served, runs: dict[str, RunResult]
) -> None:
    known = page.context.storage_state()
    context = browser.new_context(
        viewport={"width": 400, "height": 800}, color_scheme="dark", storage_state=known
    )
    narrow = context.new_page()
    narrow.set_default_timeout(WAIT_MS)
    run = f"/runs/{runs['hostile'].run_id}?from=1&to=2"
    looked_at = [run, "/statistics?by=model&days=all", "/calibration"]  # axe takes a second for each
    faults: list[str] = []
    for place in [*looked_at, "/", "/?status=accepted", "/review", "/sessions", "/?text=fine"]:
        narrow.goto(f"{served.origin}{place}")
        width = narrow.evaluate("document.documentElement.scrollWidth")
        if width > 400:
            faults.append(f"{place} is {width} px wide")
        if place in looked_at:
            faults += barriers(narrow, place)
    page.goto(f"{served.origin}/?verdict=error")
    faults += barriers(page, "/?verdict=error")
    context.close()
    assert faults == []


def barriers(page: Page, place: str) -> list[str]:
    """Return what axe finds serious."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{place}: {one['impact']}: {one['id']}: {one['nodes'][0]['html']}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ]


def test_without_scripts_everything_can_be_read_and_labelled(
    browser: Browser, page: Page, served: Served, runs: dict[str, RunResult]
) -> None:
    context = browser.new_context(java_script_enabled=False, storage_state=page.context.storage_state())
    plain = context.new_page()
    plain.set_default_timeout(WAIT_MS)
    plain.goto(served.origin)
    plain.locator(f"#run-{runs['exhausted'].run_id}").click()
    plain.get_by_role("button", name="Bad").click()
    expect(plain.locator("#attempt-2 .labels")).to_contain_text("ann")
    plain.get_by_role("link", name="Statistics").click()
    expect(plain.get_by_role("table")).to_be_visible()
    context.close()
