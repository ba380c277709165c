"""Opens the report of a demo run in headless Chromium: nothing is fetched, nothing fails, every chart is there and fits.

    checks/report.py YOLOSLIM RUN [SCREENSHOTS]

RUN is a complete run of `slim` or `demo`. At two widths, light and dark, and as print. Installs the browser where
none is found.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

WIDTHS = [1280, 390]
CHARTS = [
    "tradeoff-flops", "tradeoff-latency", "ap-by-class", "ap-by-size", "detections-0", "network-drawing", "gamma-map",
    "gamma-ridges", "loss", "map", "learning-rate", "latency-hi3519a", "latency-hi3559a", "latency-measured",
]


def browser_path() -> str:
    """The path of a Chromium, which is installed where there is none."""
    names = ["chromium", "chromium-browser", "google-chrome"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=True, stdout=subprocess.DEVNULL)
        found = shutil.which("chromium")
    assert found, "no Chromium"
    return found


def check(condition: bool, words: str) -> None:
    if not condition:
        raise SystemExit(f"report: {words}")


def check_page(page: Page, width: int) -> None:
    for chart in CHARTS:
        marks = page.locator(f"#{chart} .drawing svg > *")
        check(marks.count() > 2, f"the chart {chart} is missing or empty")
        box = page.locator(f"#{chart} .drawing svg:not(.store)").first.bounding_box()
        check(box is not None and box["width"] > 150 and box["height"] > 40, f"the chart {chart} is too small: {box}")
    check(page.locator("[id^=channels-] .layers li").count() > 3, "the channels kept are missing")
    check(page.locator("#stages tbody tr").count() >= 4, "the table of stages is short")
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    check(overflow <= 0, f"at {width} px the page is {overflow} px too wide")
    text = page.evaluate("document.querySelector('main').innerText")
    check("NaN" not in text and "undefined" not in text, "a number is missing")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('main svg')].filter(s => !s.getAttribute('aria-label') && !s.closest('[aria-hidden]')).length"
    )
    check(unnamed == 0, f"{unnamed} drawings have no name for a screen reader")
    check(page.locator("main table:not(:has(caption))").count() == 0, "a table has no caption")


def check_use(page: Page) -> None:
    """Pointing, keys, sorting and zooming."""
    tip = page.locator("#tip")
    page.locator("#loss .hit").first.hover(force=True)
    check(tip.is_visible() and "epoch 1" in tip.inner_text(), "pointing at a curve tells nothing")
    page.locator("#ap-by-class .drawing svg").focus()
    page.keyboard.press("ArrowRight")
    check(tip.is_visible() and "baseline" in tip.inner_text(), "arrow keys tell nothing")
    page.keyboard.press("Escape")
    check(not tip.is_visible(), "Escape does not close what is told")
    cells = page.locator("#stages tbody tr td:nth-child(6)")
    page.locator("#stages thead th:nth-child(6) button").click()
    values = [float(cell.get_attribute("data-value")) for cell in cells.all()]
    check(values == sorted(values, reverse=True), "sorting does not sort")
    drawing = page.locator("#network-drawing .drawing svg")
    before = drawing.bounding_box()["width"]
    page.get_by_role("button", name="Zoom in").first.click()
    check(drawing.bounding_box()["width"] > before * 1.3, "zooming does not zoom")


def main() -> None:
    yoloslim, run = sys.argv[1], Path(sys.argv[2])
    shots = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = Path(folder) / "report.html"
        subprocess.run([yoloslim, "--quiet", "report", str(run), "-o", str(report)], check=True)
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        for scheme in ["light", "dark"]:
            for width in WIDTHS:
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
                page = context.new_page()
                faults: list[str] = []
                page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
                page.on("pageerror", lambda e: faults.append(str(e)))
                page.on("request", lambda r: faults.append(r.url) if r.url.startswith("http") else None)
                page.goto(report.as_uri())
                check_page(page, width)
                if shots:
                    shots.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=shots / f"{scheme}-{width}.png", full_page=True)
                check_use(page)
                check(not faults, f"the browser complains: {faults}")
                if shots and scheme == "light" and width == WIDTHS[0]:
                    page.pdf(path=shots / "print.pdf", format="A4", print_background=True)
                context.close()
        browser.close()
    print(f"report: {len(CHARTS) + 2} charts and tables at {WIDTHS} px, light and dark: ok")


if __name__ == "__main__":
    main()
