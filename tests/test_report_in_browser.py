"""The report in a real browser: silent, alone, inert, reachable by keyboard, readable, printable.

`make prove-report` runs this; what it gave stands in docs/proofs.md. It needs Debian's `chromium`,
`chromium-driver` and `npm`, and the extra `browser`; what is missing fails, nothing is skipped.
Screenshots go to the folder LASTTOKEN_SCREENSHOTS, else to a temporary one; someone has to look.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Only the driver on this machine is spoken to. Chromium itself is another process: that it asks
# nobody is what its own log of requests shows.
pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(1200),
    pytest.mark.allow_hosts(["127.0.0.1", "::1"]),
]

AXE = "axe-core@4.14.1"
AXE_SHA512 = (  # `npm view axe-core@4.14.1 dist.integrity`
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)

WIDTHS = {390: 844, 1280: 900}  # width to height, CSS pixels: a phone and a laptop
SCHEMES = ("light", "dark")
A4_WIDTH = 717  # CSS pixels: 210 mm without Chromium's two margins of 0.4 inches
# A page wider than the paper is printed smaller: here 10 pt may become 8 pt. (Chromium, measured,
# goes down to two thirds and cuts off what is wider still.)
A4_SHRUNK = A4_WIDTH / 0.8
SMALLEST = 8.0  # CSS pixels, 6 points; letters of less are specks on a phone
CONTRAST = 4.5  # WCAG 2.2, 1.4.3; 3 for large text
MOST_BYTES = 3_000_000
MANY = 10_000
SLICE = 2_000  # CSS pixels; Chromium draws at most 16,384 real ones in a row or column

SCRIPT = "<script>window.x=1</script>"
IMAGE = "<img src=x onerror=window.x=1>"
VECTOR = '"><svg onload=window.x=1>'
HOSTILE = (
    SCRIPT, IMAGE, VECTOR, "{{7*7}}", "{% raw %}", "javascript:window.x=1",
    "' onfocus='window.x=1' autofocus='", "</title></style></svg><script>window.x=1</script>",
    "<!--", "&lt;b&gt;&#x27;", "url(http://127.0.0.1:9/x)", '<a href="http://127.0.0.1:9/">x</a>',
)  # fmt: skip
UNWIELDY = (
    "$x_1$", "مراجعة سيئة جدا للفيلم", "\u202edesrever si siht", "體育新聞", "😀" * 20,
    "W" * 200, "a label of very many words " * 8 + "at last", "x" * 40 + "_" + "y" * 40,
)  # fmt: skip
MARK = re.compile(r"text number \d+ of \d+")  # every text of ours ends so

# How a fault is named: the element, and how its text begins.
NAME = """
const name = element => element.tagName.toLowerCase()
  + (element.id ? "#" + element.id : "")
  + (element.getAttribute("class") ? "." + element.getAttribute("class").replace(/ +/g, ".") : "")
  + " " + JSON.stringify((element.textContent || "").trim().slice(0, 40));
"""

# Every address that an element or a style sheet names, but for those inside the page.
LEADING_OUT = (
    NAME
    + r"""
const inside = address => /^\s*(#|data:)/.test(address);
const addresses = ["href", "xlink:href", "src", "srcset", "action", "formaction", "poster", "data",
                   "background", "ping", "cite", "manifest", "longdesc", "usemap", "archive"];
const drawn = ["style", "fill", "stroke", "filter", "mask", "clip-path", "cursor", "marker-start",
               "marker-mid", "marker-end", "src", "from", "to", "values", "content"];
const named = text => [...text.matchAll(/url\(\s*["']?([^)"']*)/g)].map(match => match[1])
  .concat(/@import|image-set|expression\(/.test(text) ? [text.slice(0, 60)] : []);
const found = [];
for (const element of document.querySelectorAll("*")) {
  for (const {name: key, value} of element.attributes) {
    if (/^on/.test(key)) found.push(`${name(element)}: ${key}`);
    if (addresses.includes(key) && !inside(value)) found.push(`${name(element)}: ${value}`);
    if (drawn.includes(key))
      for (const address of named(value))
        if (!inside(address)) found.push(`${name(element)}: ${key}=${address}`);
  }
  if (element.tagName.toLowerCase() === "style")
    for (const address of named(element.textContent))
      if (!inside(address)) found.push(`style: ${address}`);
}
return found;
"""
)

# Text that lies outside the page's width, or that a box cuts off. On a screen a region that
# scrolls may hold wide things; on paper nothing scrolls.
UNREADABLE = (
    NAME
    + r"""
const [width, scrolls] = arguments;
const found = [];
const root = document.scrollingElement;
if (root.scrollWidth > width) found.push(`the page is ${root.scrollWidth} px wide`);
const shown = element => element.checkVisibility({visibilityProperty: true, opacityProperty: true});
for (const element of document.body.querySelectorAll("*")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  if (!own || !shown(element)) continue;
  const range = document.createRange();
  range.selectNodeContents(element);
  const box = range.getBoundingClientRect();
  if (box.width <= 1 || box.height <= 1) continue;  // for screen readers alone
  let left = 0, right = width, cut = "page";
  for (let outer = element; outer !== document.documentElement; outer = outer.parentElement) {
    const overflow = getComputedStyle(outer).overflowX;
    if (overflow === "visible") continue;
    if (scrolls && (overflow === "auto" || overflow === "scroll")) {
      [left, right] = [-Infinity, Infinity];
      break;
    }
    const edges = outer.getBoundingClientRect();
    if (edges.right < right) { right = edges.right; cut = name(outer); }
    left = Math.max(left, edges.left);
  }
  if (box.left < left - 1 || box.right > right + 1)
    found.push(`${name(element)} is ${Math.round(box.width)} px wide, cut off by ${cut}`);
}
return found;
"""
)

# Text that is too small or too faint. axe-core measures contrast too, but passes over text of one
# character and text that is scrolled out of sight. What lies below a plot's letters only a plot
# knows, so that their contrast is not measured.
FAINT = (
    NAME
    + r"""
const [smallest, contrast] = arguments;
const found = [];
const channels = color => {
  const [r, g, b, a = 1] = color.match(/[\d.e-]+/g).map(Number);
  return color.startsWith("color(") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
};
const over = (top, below) => below.map((value, i) => top[3] * top[i] + (1 - top[3]) * value);
const luminance = color => color.map(value => value / 255)  // WCAG 2.2, relative luminance
  .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, i) => sum + [0.2126, 0.7152, 0.0722][i] * value, 0);
for (const element of document.body.querySelectorAll("*")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const matrix = element.getScreenCTM?.();
  const size = parseFloat(style.fontSize) * (matrix ? Math.hypot(matrix.a, matrix.b) : 1);
  if (size < smallest) found.push(`${name(element)} is ${size.toFixed(1)} px high`);
  if (matrix) continue;
  const outer = [];
  for (let at = element; at; at = at.parentElement) outer.unshift(getComputedStyle(at));
  let below = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  let opacity = 1;
  for (const each of outer) {
    opacity *= each.opacity;
    const [r, g, b, a] = channels(each.backgroundColor);
    below = over([r, g, b, a * opacity], below);
  }
  const [r, g, b, a] = channels(style.color);
  const pair = [luminance(over([r, g, b, a * opacity], below)), luminance(below)];
  const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : contrast))
    found.push(`${name(element)} has a contrast of ${ratio.toFixed(2)}`);
}
return found;
"""
)

# A character that turns the direction of writing turns all that follows in its paragraph: what
# holds one is to stand in an element that lets nothing out. Returns what such elements hold.
TURNED = r"""
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  if (!walker.currentNode.data.includes("\u202e")) continue;
  let element = walker.currentNode.parentElement;
  const open = () => !/isolate|plaintext/.test(getComputedStyle(element).unicodeBidi);
  while (element.tagName !== "text" && open()) element = element.parentElement;
  found.push(element.textContent.trim());
}
return found;
"""

# What the eye gets from a plot, everyone gets from a table of the same section.
PLOTS_WITHOUT_TABLE = (
    NAME
    + r"""
const found = [];
for (const plot of document.querySelectorAll("figure, [role=img]"))
  if (!plot.closest("section")?.querySelector("table")) found.push(name(plot));
for (const table of document.querySelectorAll("table")) {
  const named = table.caption?.textContent.trim() || table.getAttribute("aria-label");
  if (!named || !table.querySelector("th")) found.push(name(table));
}
return found;
"""
)

SECTIONS = r"""
return [...document.querySelectorAll("main section")]
  .map(section => section.querySelector("h2")?.textContent.trim() ?? "");
"""

# Where the keyboard stands: the section (its heading) around the focus, and the in-page link.
FOCUS = (
    NAME
    + r"""
const element = document.activeElement;
if (!element || element === document.body || element === document.documentElement) return null;
window.visited ??= new Set();
if (window.visited.has(element)) return null;
window.visited.add(element);
const box = element.getBoundingClientRect();
return {
  name: name(element),
  section: element.closest("main section")?.querySelector("h2")?.textContent.trim(),
  link: element.matches("a[href^='#']") ? element.hash : null,
  seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight
    && box.right > 0 && box.left < innerWidth,
};
"""
)

# Where an in-page link has led: the section whose start the window now shows.
LED_TO = r"""
const target = document.getElementById(decodeURIComponent(arguments[0].slice(1)));
if (!target) return null;
const top = target.getBoundingClientRect().top;
const section = target.closest("main section") ?? target.querySelector("section");
return top > -2 && top < innerHeight ? section?.querySelector("h2")?.textContent.trim() : null;
"""

AXE_RUN = r"""
const done = arguments[arguments.length - 1];
axe.run({resultTypes: ["violations"]}).then(
  results => done(results.violations.map(rule => [rule.impact, rule.id,
    rule.nodes.map(node => node.target.join(" ")).slice(0, 8)])),
  error => done(String(error)));
"""


class Browser:
    """Chromium without a window, one page at a time."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self, path: Path | str, width: int = 1280, scheme: str = "light", media: str = ""
    ) -> None:
        """Open a file or address anew, as a window of that width shows it, or as paper does."""
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)  # hands out each entry once
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=WIDTHS.get(width, 1000),
            deviceScaleFactor=2, mobile=width < 600,
        )  # fmt: skip
        self.command(
            "Emulation.setEmulatedMedia", media=media,
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )  # fmt: skip
        self.driver.get(path if isinstance(path, str) else path.as_uri())

    def command(self, name: str, **words: Any) -> Any:
        """Call the browser's debugging protocol."""
        return self.driver.execute_cdp_cmd(name, words)

    def run(self, script: str, *words: Any) -> Any:
        """Run a script from outside the page, which its policy therefore does not forbid."""
        return self.driver.execute_script(script, *words)

    def press(self, key: str) -> None:
        """Press one key."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(key).perform()

    def console(self) -> list[str]:
        """Return what the console has said since the page was opened or this was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened."""
        messages = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def picture(self, **clip: float) -> bytes:
        """Return the window, or a part of the page in CSS pixels, as PNG."""
        words = {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True} if clip else {}
        return base64.b64decode(self.command("Page.captureScreenshot", **words)["data"])


def program(name: str, package: str) -> str:
    """Return the path of an installed program, or fail and say what installs it."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"no {name} on the PATH; try: apt-get install {package}")
    return path


def open_browser() -> Iterator[Browser]:
    """Debian's Chromium and driver; both are named, so that Selenium neither looks nor loads."""
    try:
        from selenium import webdriver
    except ImportError:
        pytest.fail("no selenium; try: pip install -c constraints.txt -e '.[browser]'")
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium")
    options.add_argument("--headless=new")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox refuses to start for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(program("chromedriver", "chromium-driver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(300)
    yield Browser(driver)
    driver.quit()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from open_browser()


def axe_source(config: pytest.Config) -> str:
    """Return the source of axe-core, fetched once by npm and compared with the hash above."""
    assert config.cache is not None
    folder = config.cache.mkdir("axe-core")
    archive = folder / f"{AXE.replace('@', '-')}.tgz"
    if not archive.exists():
        words = [program("npm", "npm"), "pack", AXE, "--silent", "--pack-destination", str(folder)]
        subprocess.run(words, check=True, capture_output=True, cwd=folder)
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert digest == AXE_SHA512, f"{archive} is not the {AXE} that was pinned"
    with tarfile.open(archive) as files:
        source = files.extractfile("package/axe.min.js")
        assert source is not None
        return source.read().decode()


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest) -> str:
    return axe_source(request.config)


def write_rows(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def train(*words: object, epochs: int = 1) -> None:
    from lasttoken.cli import main

    words = (*words, "--num-epochs", epochs, "--max-length", 64, "--precision", "fp32")
    assert main(["train", *(str(word) for word in words)]) == 0


def plain_run(folder: Path, model: Path) -> Path:
    """A small run of two labels, three epochs."""
    words = ("wonderful", "dreadful")
    rows = [(f"a {words[n % 2]} film, {n}", ("pos", "neg")[n % 2]) for n in range(200)]
    data = write_rows(folder / "reviews.csv", ("text", "label"), rows)
    train(data, "--model", model, "--output-dir", folder / "run", epochs=3)
    return folder / "run" / "report.html"


def evaluated_run(folder: Path, model: Path) -> Path:
    """The report of `evaluate`: no learning curves."""
    from lasttoken.cli import main

    run = plain_run(folder, model).parent
    assert main(["evaluate", str(run), str(folder / "reviews.csv"), "--precision", "fp32"]) == 0
    (report,) = (run / "evaluations").glob("*/report.html")
    return report


def hostile_run(folder: Path, model: Path) -> Path:
    """Whatever the user names is markup, a template, a script's address, or unwieldy."""
    labels = [*HOSTILE, *UNWIELDY]
    rows = [
        (f"{labels[n % len(labels)]} {labels[n // 7 % len(labels)]} text number {n} of 800",
         labels[(n + n // 50) % len(labels)], HOSTILE[n % 3])
        for n in range(800)
    ]  # fmt: skip
    data = write_rows(folder / f"{IMAGE}.csv", (SCRIPT, VECTOR, IMAGE), rows)
    named = Path(shutil.copytree(model, folder / VECTOR))
    run = folder / SCRIPT  # its slash makes it two folders; the page shows the whole path
    train(
        data, "--text-column", SCRIPT, "--label-column", VECTOR, "--model", named,
        "--output-dir", run, "--template", SCRIPT + "{text}", "--slice-by", IMAGE, "--label-check",
    )  # fmt: skip
    return run / "report.html"


def large_run(folder: Path, model: Path) -> Path:
    """10,000 test examples of 20 labels, of 3 to 300 words."""
    chance = random.Random(0)
    words = [
        "".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 9))) for _ in range(900)
    ]
    topics = [f"topic {word}" for word in words[:20]]

    def rows(count: int) -> list[tuple[str, ...]]:
        return [
            (f"{' '.join(chance.choices(words, k=min(300, 3 + int(chance.expovariate(1 / 25)))))} "
             f"text number {n} of {count}", topics[n % 20], words[n % 5], f"20{n % 9:02}")
            for n in range(count)
        ]  # fmt: skip

    header = ("text", "label", "source", "year")
    data = write_rows(folder / "topics.csv", header, rows(800))
    test = write_rows(folder / "test.csv", header, rows(MANY))
    run = folder / "run"
    train(data, "--test", test, "--model", model, "--output-dir", run, "--slice-by", "source,year")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["num_examples"] == MANY
    return run / "report.html"


def compared_runs(folder: Path, model: Path) -> Path:
    """The report of `compare`: three runs, two of them in folders of hostile names."""
    from lasttoken.cli import main

    first = plain_run(folder, model).parent
    others = [Path(shutil.copytree(first, folder / name)) for name in (VECTOR, "\u202erun")]
    words = ["compare", str(first), *map(str, others), "--output-dir", str(folder / "compared")]
    assert main(words) == 0
    return folder / "compared" / "report.html"


RUNS: dict[str, Callable[[Path, Path], Path]] = {
    "plain": plain_run,
    "evaluated": evaluated_run,
    "hostile": hostile_run,
    "large": large_run,
    "compared": compared_runs,
}


def alone(report: Path, folder: Path) -> Path:
    """Copy a report into an empty folder: it has to do without the files that it came with."""
    return Path(shutil.copy(report, folder / "report.html"))


@pytest.fixture(scope="module", params=list(RUNS))
def page(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path
) -> Path:
    """The report of every kind of run, alone in its folder."""
    report = RUNS[request.param](tmp_path_factory.mktemp("run"), tiny_gpt2)
    return alone(report, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Path:
    report = hostile_run(tmp_path_factory.mktemp("run"), tiny_gpt2)
    return alone(report, tmp_path_factory.mktemp("hostile"))


def check_none(found: list[Any]) -> None:
    """Check that a list of faults is empty; if not, say a readable number of them."""
    times = Counter(map(str, found))
    assert not found, "\n".join(f"{count} x {fault}" for fault, count in times.most_common(25))


def check_silent(browser: Browser, page: Path) -> None:
    check_none(browser.console())
    asked = [url for url in browser.requests() if not url.startswith("data:")]
    assert asked == [page.as_uri()]


def check_closed(browser: Browser) -> None:
    """No address leads out, and the page's own policy would let none be followed."""
    check_none(browser.run(LEADING_OUT))
    (policy,) = browser.run(
        "return [...document.querySelectorAll('meta[http-equiv=Content-Security-Policy i]')]"
        ".map(meta => meta.content)"
    )
    rules = {words[0]: words[1:] for part in policy.split(";") if (words := part.split())}
    assert rules["default-src"] == ["'none'"]
    assert rules.get("script-src", rules["default-src"]) == ["'none'"]
    assert rules["base-uri"] == rules["form-action"] == ["'none'"]
    allowed = {"'none'", "data:"}
    for name, sources in rules.items():
        hashes = {each for each in sources if re.fullmatch(r"'sha256-[\w+/]{43}='", each)}
        assert set(sources) <= allowed | (hashes if name == "style-src" else set()), policy


def check_axe(browser: Browser, axe: str) -> None:
    # Its own policy stays in force: the debugging protocol is not a script of the page.
    browser.run(axe)
    found = browser.driver.execute_async_script(AXE_RUN)
    assert isinstance(found, list), found
    check_none([rule for rule in found if rule[0] in ("serious", "critical")])


def check_sections(browser: Browser) -> list[str]:
    """Return the headings: every section has one of its own."""
    headings = browser.run(SECTIONS)
    assert len(headings) >= 3
    assert all(headings)
    assert len(set(headings)) == len(headings)
    return headings


def check_keyboard(browser: Browser) -> None:
    """Tab, and Enter on in-page links, reach every section; where the focus is can be seen."""
    from selenium.webdriver.common.keys import Keys

    headings = check_sections(browser)
    reached = set()
    hidden = []
    for _ in range(2000):
        browser.press(Keys.TAB)
        stop = browser.run(FOCUS)
        if stop is None:  # back at the start
            break
        reached.add(stop["section"])
        # Without the focus the window has to look different.
        focused = browser.picture()
        element = browser.run("const e = document.activeElement; e.blur(); return e")
        if not stop["seen"] or browser.picture() == focused:
            hidden.append(stop["name"])
        browser.run("arguments[0].focus({preventScroll: true})", element)
        if stop["link"]:
            browser.press(Keys.ENTER)
            late = time.monotonic() + 3  # a smooth scroll takes a moment
            while (section := browser.run(LED_TO, stop["link"])) is None:
                assert time.monotonic() < late, f"{stop['name']} leads nowhere"
            reached.add(section)
            browser.run("arguments[0].focus()", element)
    else:
        pytest.fail("2,000 stops, and no end of them")
    check_none([f"{stop} shows no focus" for stop in hidden])
    check_none([f"{heading!r} is out of reach" for heading in headings if heading not in reached])


def check_readable(browser: Browser, width: int) -> None:
    check_none(browser.run(UNREADABLE, width, True))
    check_none(browser.run(FAINT, SMALLEST, CONTRAST))


def check_tables(browser: Browser) -> None:
    check_none(browser.run(PLOTS_WITHOUT_TABLE))


def check_inert(browser: Browser) -> None:
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        _ = browser.driver.switch_to.alert.text
    assert browser.run("return typeof window.x") == "undefined"
    forbidden = "script, img, iframe, frame, object, embed, form, base, audio, video, [autofocus]"
    assert browser.run("return document.querySelectorAll(arguments[0]).length", forbidden) == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_says_nothing_asks_nobody_and_leads_nowhere(
    browser: Browser, page: Path, width: int
) -> None:
    browser.open(page, width)
    check_silent(browser, page)
    check_inert(browser)
    check_closed(browser)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_all_text_lies_within_the_page_large_and_strong_enough(
    browser: Browser, page: Path, width: int, scheme: str
) -> None:
    browser.open(page, width, scheme)
    check_readable(browser, width)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_serious_and_every_plot_has_a_table(
    browser: Browser, axe: str, page: Path, width: int, scheme: str
) -> None:
    browser.open(page, width, scheme)
    check_tables(browser)
    check_axe(browser, axe)
    check_silent(browser, page)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_section_is_reached_with_the_keyboard_alone(
    browser: Browser, page: Path, width: int
) -> None:
    browser.open(page, width)
    check_keyboard(browser)
    check_silent(browser, page)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_prints_dark_on_white_with_nothing_cut_off(
    browser: Browser, page: Path, scheme: str
) -> None:
    browser.open(page, A4_WIDTH, scheme, media="print")
    check_none(browser.run(UNREADABLE, A4_SHRUNK, False))
    paper, ink = browser.run(
        "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    )
    assert paper in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")
    assert max(int(part) for part in re.findall(r"\d+", ink)[:3]) < 80
    printed = base64.b64decode(
        browser.command("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"]
    )
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 1
    assert browser.console() == []


def test_the_page_is_small(page: Path) -> None:
    assert page.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_screenshots_are_taken_for_someone_to_look_at(
    browser: Browser, page: Path, width: int, scheme: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chosen = os.environ.get("LASTTOKEN_SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{page.parent.name.rstrip('0123456789')}-{width}-{scheme}"
    for old in folder.glob(f"{name}-*.png"):
        old.unlink()
    browser.open(page, width, scheme)
    height = browser.run("return document.scrollingElement.scrollHeight")
    for number, top in enumerate(range(0, height, SLICE), start=1):
        picture = browser.picture(x=0, y=top, width=width, height=min(SLICE, height - top))
        # PNG: 8 bytes of signature, 8 of chunk head, then width and height. RFC 2083, 11.2.1
        assert struct.unpack(">II", picture[16:24])[0] == 2 * width
        (folder / f"{name}-{number:02}.png").write_bytes(picture)


def test_hostile_names_and_texts_are_shown_as_they_are(
    browser: Browser, hostile_page: Path
) -> None:
    browser.open(hostile_page)
    check_inert(browser)
    shown = browser.run("return document.body.textContent")
    for name in (*HOSTILE, *UNWIELDY):
        assert name.strip() in shown
    check_none(
        [held for held in browser.run(TURNED) if held not in UNWIELDY and not MARK.search(held)]
    )
    assert MARK.search(shown)
    # Where the page quotes a text, it quotes the whole of it.
    labels = sorted((*HOSTILE, *UNWIELDY), key=len, reverse=True)
    beginning = re.compile("(?:" + "|".join(map(re.escape, labels)) + r")\s*$")
    for mark in MARK.finditer(shown):
        assert beginning.search(shown[: mark.start()])


def planted(page: Path, folder: Path, markup: str, *, policy: bool = True) -> Path:
    """Copy a page with markup put in front of it, and its policy taken out if wished."""
    html = page.read_text(encoding="utf-8")
    assert html.count("<main") == 1
    if not policy:
        html, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
        assert count == 1
    copy = folder / "planted.html"
    copy.write_text(html.replace("<main", f"{markup}<main"), encoding="utf-8")
    return copy


@pytest.mark.parametrize(
    "markup",
    [
        SCRIPT,
        "<img src=x onerror=window.x=1>",
        "<svg onload=window.x=1></svg>",
        "<details open ontoggle=window.x=1></details>",
        "<iframe srcdoc='<script>parent.x=1</script>'></iframe>",
    ],
)
@pytest.mark.parametrize("policy", [True, False])
def test_were_markup_to_slip_through_the_policy_still_forbids_it_to_run(
    browser: Browser, hostile_page: Path, tmp_path: Path, markup: str, policy: bool
) -> None:
    browser.open(planted(hostile_page, tmp_path, markup, policy=policy))
    late = time.monotonic() + 3
    while (found := browser.run("return window.x")) is None and time.monotonic() < late:
        time.sleep(0.1)
    assert found == (None if policy else 1)  # without the policy it does run
    if policy:
        assert "violates the following Content Security Policy" in " ".join(browser.console())


# A page that every check passes, to plant faults in.
SECTION = "<section><h2 id={0}>{0}</h2><table><caption>{0}</caption><tr><th>1</table></section>"
GOOD = (
    "<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>good</title>"
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "  # of no style
    "img-src data:; base-uri 'none'; form-action 'none'\">"
    '<meta name=viewport content="width=device-width"><link rel=icon href="data:,"></head><body>'
    "<nav aria-label=sections><a href=#a>a</a> <a href=#b>b</a> <a href=#c>c</a></nav>"
    f"<main><h1>good</h1>{SECTION.format('a')}{SECTION.format('b')}{SECTION.format('c')}</main>"
    "</body></html>"
)
FAULTS = [
    ("silent", "<img alt='' src='http://127.0.0.1:9/x'>"),
    ("silent", "<script>console.log('hello')</script>"),
    ("closed", "<a href='https://example.org/'>out</a>"),
    ("closed", "<p style='background: url(//example.org/x)'>out</p>"),
    ("closed", "<style>@import '//example.org/x'</style>"),
    ("inert", SCRIPT),
    ("readable", "<p style='width: 400px; white-space: nowrap'>wide</p>"),
    ("readable", f"<p style='width: 90px; overflow: hidden'>{'W' * 40}</p>"),
    ("tables", "<section><h2>d</h2><div role=img aria-label=plot></div></section>"),
    ("tables", "<table><tr><th>1<td>2</table>"),
    ("keyboard", "<style>:focus { outline: none !important }</style>"),
    ("keyboard", "<main><section><h2>out of reach</h2></section></main>"),
    ("keyboard", "<main><section>without a heading</section></main>"),
    ("keyboard", "<a href=#nowhere>nowhere</a>"),
    ("readable", "<p style='opacity: 0.5'>5</p>"),
    ("readable", "<svg viewBox='0 0 9 9' width=9><text font-size=7>small</text></svg>"),
    ("axe", "<img src='data:,'>"),
    ("axe", "<p style='color: #999; background: #aaa'>faint</p>"),
]


@pytest.mark.parametrize("fault", [("none", ""), *FAULTS])
def test_each_check_finds_its_planted_fault_and_nothing_in_a_good_page(
    browser: Browser, axe: str, tmp_path: Path, fault: tuple[str, str]
) -> None:
    name, markup = fault
    good = tmp_path / "good.html"
    good.write_text(GOOD)
    bad = planted(good, tmp_path, markup, policy=name in ("none", "closed"))
    checks: dict[str, Callable[[], object]] = {
        "silent": lambda: check_silent(browser, bad),
        "inert": lambda: check_inert(browser),
        "closed": lambda: check_closed(browser),
        "readable": lambda: check_readable(browser, 390),
        "tables": lambda: check_tables(browser),
        "keyboard": lambda: check_keyboard(browser),
        "axe": lambda: check_axe(browser, axe),
    }
    browser.open(bad, 390)
    if name == "none":
        for check in checks.values():
            check()
    else:
        with pytest.raises(AssertionError):
            checks[name]()
