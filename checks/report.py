"""Opens the report of a demo run in headless Chromium: nothing is fetched, nothing fails, every chart is there and fits.

    checks/report.py YOLOSLIM RUN [SCREENSHOTS]

RUN is a complete run of `slim` or `demo`. At two widths, light and dark; as print, from dark too; with names, roles and
contrast as a screen reader and weak eyes need them; and served by `--watch`, while the run's record changes. Installs
the browser where none is found.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

WIDTHS = [1280, 390]
CHARTS = [
    "tradeoff-flops", "tradeoff-latency", "ap-by-class", "ap-by-size", "detections-0", "network-drawing", "gamma-map",
    "gamma-ridges", "loss", "map", "zeros", "learning-rate", "distillation", "latency-hi3519a", "latency-hi3559a", "latency-measured",
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


# What assistive technology can't make sense of, and what weak eyes can't read: WCAG 2 asks for a contrast of 4.5, and of
# 3 for large text. Words that stand on a photograph have an outline instead.
AUDIT = """() => {
  const found = [];
  const shown = (e) => { const b = e.getBoundingClientRect(); return b.width > 1 && b.height > 1 && e.checkVisibility?.({ visibilityProperty: true }); };
  const words = (e) => (e.getAttribute("aria-label") ?? document.getElementById(e.getAttribute("aria-labelledby"))?.textContent ?? e.textContent).trim();
  if (!document.documentElement.lang) found.push("the page has no language");
  if (document.querySelectorAll("main").length !== 1 || document.querySelectorAll("h1").length !== 1) found.push("not one main part and one first heading");
  let level = 0;
  for (const h of document.querySelectorAll("h1, h2, h3, h4")) {
    if (+h.tagName[1] > level + 1) found.push(`the heading ${h.textContent} skips a level`);
    level = +h.tagName[1];
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) found.push(`two elements are called ${id}`);
  for (const e of document.querySelectorAll("[aria-labelledby]")) if (!document.getElementById(e.getAttribute("aria-labelledby"))) found.push(`no ${e.getAttribute("aria-labelledby")} names ${e.tagName}`);
  for (const e of document.querySelectorAll("a[href], button, summary, [tabindex='0']")) if (!words(e)) found.push(`${e.tagName} of ${e.closest("[id]")?.id} takes the focus and has no name`);
  for (const e of document.querySelectorAll("nav, [role=region], [role=img], [role=list]")) if (!words(e)) found.push(`${e.tagName} has a role and no name`);
  for (const e of document.querySelectorAll("th")) if (!e.scope) found.push(`the head ${e.textContent} has no scope`);
  for (const e of document.querySelectorAll("main svg[tabindex]")) if (!e.getAttribute("role")) found.push(`a drawing of ${e.closest("[id]").id} takes the focus and has no role`);
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => { const l = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * l(r) + 0.7152 * l(g) + 0.0722 * l(b); };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
  let measured = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || e.closest("script, style, .caption, .visually-hidden, .skip, #tip") || !shown(e)) continue;
    const style = getComputedStyle(e);
    const [ink, paper] = [rgb(e.closest("svg") ? style.fill : style.color), behind(e)];
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    const contrast = (a + 0.05) / (b + 0.05);
    measured += 1;
    if (contrast < (large ? 3 : 4.5)) found.push(`"${walk.currentNode.data.trim().slice(0, 30)}" (${e.getAttribute("class") ?? e.tagName} of ${e.closest("[id]")?.id}) has a contrast of ${contrast.toFixed(2)}`);
  }
  if (measured < 50) found.push(`only ${measured} texts were measured`);
  return [...new Set(found)];
}"""


def check_audit(page: Page, where: str) -> None:
    found = page.evaluate(AUDIT)
    check(not found, f"{where}: {len(found)} faults of accessibility: {found[:12]}")


def check_access(page: Page, where: str) -> None:
    check_audit(page, where)
    # What the accessibility tree calls things, by the browser's own rules.
    tree = page.locator("body").aria_snapshot()
    for wanted in ["navigation", "main", "heading", "table", "link"]:
        check(re.search(rf"^\s*- ['\"]?{wanted}\b", tree, re.MULTILINE), f"{where}: a screen reader finds no {wanted}")


def check_print(page: Page) -> None:
    """Ink on white, whatever the screen was, without what paper can't do; each heading with what it heads."""
    page.emulate_media(media="print")
    look = page.evaluate(
        """() => ({
          ink: getComputedStyle(document.body).color,
          paper: getComputedStyle(document.body).backgroundColor,
          lines: getComputedStyle(document.documentElement).getPropertyValue("--a").trim(),
          hidden: ["nav", ".tools", "details"].filter((s) => [...document.querySelectorAll(s)].some((e) => e.offsetParent !== null || e.getClientRects().length)),
        })"""
    )
    check(look["ink"] == "rgb(0, 0, 0)" and look["paper"] == "rgb(255, 255, 255)", f"print is not black on white: {look}")
    check(look["lines"] == "#0072b2", f"printed charts have the colours of the dark page: {look}")
    check(not look["hidden"], f"print shows {look['hidden']}")
    check_audit(page, "print")
    page.emulate_media(media="screen")


def check_watch(yoloslim: str, run: Path, folder: Path, browser) -> None:
    """The page that is served follows the run's record by itself, and keeps what was opened open."""
    copy = folder / "watched"
    shutil.copytree(run, copy)
    record_file = copy / "record.json"
    record = json.loads(record_file.read_text())
    whole = record["stages"]
    last = whole[-1]
    (copy / "slim.cfg").unlink()
    write = lambda stages, running: record_file.write_text(json.dumps(record | {"stages": stages, "running": running}))
    planned = len(last["epochs"])
    write(whole[:-1], {"name": last["name"], "planned": planned, "epochs": last["epochs"][:1]})
    server = subprocess.Popen([yoloslim, "report", str(copy), "--watch", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+", server.stderr.readline())[0]
        page = browser.new_context(viewport={"width": WIDTHS[0], "height": 900}).new_page()
        faults: list[str] = []
        page.on("pageerror", lambda e: faults.append(str(e)))
        page.goto(address)
        badge = page.locator(".badge")
        check(f"epoch 1 of {planned}" in badge.inner_text(), f"the watched page does not tell the epoch: {badge.inner_text()}")
        rows = page.locator("#stages tbody tr")
        check(rows.count() == len(whole) - 1, "the watched page has another number of stages than the record")
        page.locator("#loss summary").click()
        # From now on the page knows what it has: what comes next is news.
        page.wait_for_event("response", lambda answer: answer.status == 304, timeout=30_000)
        write(whole[:-1], {"name": last["name"], "planned": planned, "epochs": last["epochs"][:2]})
        page.wait_for_function(f"document.querySelector('.badge').innerText.includes('epoch 2 of {planned}')", timeout=20_000)
        check(page.locator("#loss details").get_attribute("open") is not None, "what was opened is closed by news")
        write(whole, None)
        page.wait_for_function(f"document.querySelectorAll('#stages tbody tr').length === {len(whole)}", timeout=20_000)
        page.locator("#stages thead th:nth-child(6) button").click()
        check(not faults, f"the watched page complains: {faults}")
    finally:
        server.kill()
        server.wait()


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
                check_access(page, f"{scheme}, {width} px")
                check_use(page)
                check_print(page)
                check(not faults, f"the browser complains: {faults}")
                if shots and scheme == "light" and width == WIDTHS[0]:
                    page.pdf(path=shots / "print.pdf", format="A4", print_background=True)
                context.close()
        check_watch(yoloslim, run, Path(folder), browser)
        browser.close()
    print(f"report: {len(CHARTS) + 2} charts and tables at {WIDTHS} px, light, dark and print, read aloud and watched: ok")


if __name__ == "__main__":
    main()
