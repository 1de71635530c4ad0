"""The page of `lasttoken serve` in a real browser: it answers, explains, says what is wrong, and
lets nothing that it shows act.

`make prove-page` runs this; it needs what `make prove-report` needs. Screenshots go to the folder
LASTTOKEN_SCREENSHOTS, else to a temporary one; someone has to look.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from served import wait_until

from lasttoken import TextClassifier
from test_report_in_browser import (
    CONTRAST,
    FAINT,
    FOCUS,
    HOSTILE,
    LEADING_OUT,
    SCHEMES,
    SMALLEST,
    TURNED,
    UNREADABLE,
    UNWIELDY,
    WIDTHS,
    Browser,
    axe_source,
    check_axe,
    check_none,
    open_browser,
    train,
    write_rows,
)

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(600),
    pytest.mark.allow_hosts(["127.0.0.1", "::1"]),
]

TAB, ENTER, SPACE, CONTROL = "\ue004", "\ue007", "\ue00d", "\ue009"  # of the WebDriver standard

# Put in before the page's own script: whatever acts although it is only shown, calls it.
ACTED = (
    "window.x = undefined; window.alert = window.confirm = window.prompt = () => { window.x = 1 };"
)
DROP = """
const transfer = new DataTransfer();
transfer.items.add(new File([arguments[0]], arguments[1], {type: "text/csv"}));
for (const name of ["dragenter", "dragover", "drop"])
  document.querySelector("#drop").dispatchEvent(
    new DragEvent(name, {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""
SHOWN = """
return [...document.querySelectorAll("#list .example")].map(item => ({
  answer: item.querySelector(".answer").textContent,
  text: item.querySelector(".text").textContent,
  marks: item.querySelectorAll("mark").length,
  cut: item.querySelector(".cut")?.textContent ?? null,
  bars: [...item.querySelectorAll(".shares tr")].map(row => row.textContent),
}));
"""


class Server(NamedTuple):
    address: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def serve(run: Path, *words: object) -> Iterator[Server]:
    """Start the command as people do, and wait until it says where it serves."""
    command = [sys.executable, "-m", "lasttoken", "serve", str(run), "--port", "0",
               "--precision", "fp32", *map(str, words)]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"serving at (http://\S+/) ", line):
                break
        else:
            pytest.fail("the server ended before it served")
        yield Server(found.group(1), process)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM, -signal.SIGKILL)
        process.stderr.close()


@pytest.fixture(scope="module")
def web() -> Iterator[Browser]:
    yield from open_browser()


@pytest.fixture(scope="module")
def plain(finished_run: Path) -> Iterator[Server]:
    with serve(finished_run) as server:
        yield server


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Iterator[Server]:
    """Labels, and the run's own name, are markup, scripts, or unwieldy."""
    folder = tmp_path_factory.mktemp("hostile")
    labels = [*HOSTILE, *UNWIELDY]
    rows = [(f"a text, number {n}", labels[n % len(labels)]) for n in range(10 * len(labels))]
    data = write_rows(folder / "data.csv", ("text", "label"), rows)
    run = folder / "<img src=x onerror=window.x=1>"
    train(data, "--model", tiny_gpt2, "--output-dir", run)
    with serve(run) as server:
        yield server


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("LASTTOKEN_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def open_page(web: Browser, server: Server, width: int = 1280, scheme: str = "light") -> None:
    web.command("Page.addScriptToEvaluateOnNewDocument", source=ACTED)
    web.open(server.address, width, scheme)
    wait_until(lambda: not web.run("return document.querySelector('#go').disabled"), 20)


def press(web: Browser, *keys: str, held: str = "") -> None:
    """Press keys one after the other, while another one is held down if it is named."""
    from selenium.webdriver.common.action_chains import ActionChains

    chain = ActionChains(web.driver)
    chain = chain.key_down(held).send_keys(*keys).key_up(held) if held else chain.send_keys(*keys)
    chain.perform()


def classify(web: Browser, text: str, *, explain: bool = False) -> list[dict[str, Any]]:
    """Type texts, classify, and return what is shown when all is answered."""
    web.run("const e = document.querySelector('#texts'); e.value = ''; e.focus()")
    web.driver.find_element("id", "texts").send_keys(text)
    if web.run("return document.querySelector('#explain').checked") != explain:
        web.driver.find_element("id", "explain").click()
    web.driver.find_element("id", "go").click()
    return answers(web)


def answers(web: Browser) -> list[dict[str, Any]]:
    status = "return document.querySelector('#status').textContent"
    wait_until(lambda: web.run(status).endswith("classified."), 60)
    return web.run(SHOWN)


def fault(web: Browser) -> list[str]:
    """Return the lines of the fault that is shown, once there is one."""
    script = (
        "return [...document.querySelectorAll('#fault:not([hidden]) p')].map(p => p.textContent)"
    )
    wait_until(lambda: web.run(script) != [], 20)
    return web.run(script)


def check_quiet(web: Browser, server: Server) -> None:
    """Nothing in the console, nobody else asked, nothing acted."""
    check_none(web.console())
    others = [
        url for url in web.requests() if not url.startswith((server.address, "data:", "blob:"))
    ]
    check_none(others)
    assert web.run("return window.x ?? null") is None


def test_lines_are_classified_as_predict_does(
    web: Browser, plain: Server, classifier: TextClassifier
) -> None:
    open_page(web, plain)
    texts = ["a wonderful film, number 3", "a dreadful film", "a very long text about a film " * 3]
    shown = classify(web, "\n".join(texts))
    assert [one["text"] for one in shown] == texts
    probs = classifier.predict_proba(texts)
    for one, label, row in zip(shown, classifier.predict(texts), probs):
        assert one["answer"] == f"{label} {100 * row.max():.1f} %"
        assert len(one["bars"]) == 2
    assert [one["cut"] for one in shown] == [
        None, None, "Longer than 32 tokens: a part of it was not read."
    ]  # fmt: skip
    check_quiet(web, plain)


def test_words_that_mattered_are_marked_on_request(web: Browser, plain: Server) -> None:
    open_page(web, plain)
    (one,) = classify(web, "a wonderful film, number 3", explain=True)
    assert one["text"] == "a wonderful film, number 3"
    assert web.run("return !document.querySelector('#legend').hidden")
    said = web.run("return document.querySelector('#list .example .small').textContent")
    assert said.startswith(("Most: ", "No word alone"))
    assert (one["marks"] > 0) == said.startswith("Most: ")
    check_quiet(web, plain)


def test_the_keyboard_is_enough(web: Browser, plain: Server) -> None:
    open_page(web, plain)
    visited = []
    for _ in range(30):
        press(web, TAB)
        stop = web.run(FOCUS)
        if stop is None:
            break
        assert stop["seen"], stop
        visited.append(stop["name"].split()[0])
        if stop["name"].startswith("textarea"):
            press(web, "a wonderful film", ENTER, "a dreadful film")
        if stop["name"].startswith("input#explain"):
            press(web, SPACE)
            assert web.run("return document.querySelector('#explain').checked")
    assert [name.partition(".")[0] for name in visited[:4]] == [
        "textarea#texts", "input#file", "button#go", "input#explain"
    ]  # fmt: skip
    web.run("document.querySelector('#texts').focus()")
    press(web, ENTER, held=CONTROL)
    assert len(answers(web)) == 2
    check_quiet(web, plain)


def test_a_dropped_table_is_classified_and_can_be_saved(
    web: Browser, plain: Server, classifier: TextClassifier, tmp_path: Path
) -> None:
    web.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    open_page(web, plain)
    texts = ['quoted, "film"', "two\nlines", "=1+1", *(f"film {n}" for n in range(120))]
    table = "\ufeffid;review\r\n" + "".join(
        f'{n};"{text.replace(chr(34), chr(34) * 2)}"\r\n' for n, text in enumerate(texts)
    )
    web.run(DROP, table, "films.csv")
    wait_until(lambda: web.run("return !document.querySelector('#columns').hidden"), 10)
    chosen = "return document.querySelector('#column').selectedOptions[0].textContent"
    assert web.run(chosen) == "review"
    web.driver.find_element("id", "go").click()
    shown = answers(web)
    assert [one["text"] for one in shown] == texts[:50]
    web.driver.find_element("id", "more").click()
    assert len(web.run(SHOWN)) == 100
    web.driver.find_element("id", "save").click()
    wait_until(lambda: (tmp_path / "labels.csv").exists(), 10)
    time.sleep(0.5)
    with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == ["'=1+1" if t == "=1+1" else t for t in texts]
    assert [row["predicted_label"] for row in rows] == classifier.predict(texts).tolist()
    assert list(rows[0]) == ["text", "predicted_label", "predicted_probability", "probability_neg",
                             "probability_pos", "truncated"]  # fmt: skip
    check_quiet(web, plain)


def test_a_quoted_nothing_is_an_empty_text_and_a_blank_line_is_none(
    web: Browser, plain: Server
) -> None:
    open_page(web, plain)
    web.run(DROP, 'text\na\n""\n\nb\n', "films.csv")
    wait_until(lambda: web.run("return !document.querySelector('#columns').hidden"), 10)
    web.driver.find_element("id", "go").click()
    assert [one["text"] for one in answers(web)] == ["a", "(an empty text)", "b"]
    check_quiet(web, plain)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("text\n\n", "films.csv: no rows below its first line"),
        ("text,a\nx\n", "films.csv, row 1: 1 cell"),
        ('text\n"open\n', "a quote that is never closed"),
    ],
)
def test_a_table_that_cannot_be_read_is_told(
    web: Browser, plain: Server, table: str, found: str
) -> None:
    open_page(web, plain)
    web.run(DROP, table, "films.csv")
    lines = fault(web)
    assert lines[0] == found
    assert [line.split(":")[0] for line in lines[1:]] == ["expected", "try"]
    assert not web.run("return document.querySelector('#texts').disabled")
    check_quiet(web, plain)


def test_no_text_is_told(web: Browser, plain: Server) -> None:
    open_page(web, plain)
    web.driver.find_element("id", "go").click()
    assert fault(web)[0] == "no text"


def test_what_the_server_refuses_is_told_in_its_words(web: Browser, finished_run: Path) -> None:
    with serve(finished_run, "--max-characters", 10) as server:
        open_page(web, server)
        lines = ["short"] * 70 + ["more than ten characters"]  # in the second request
        web.run("document.querySelector('#texts').value = arguments[0]", "\n".join(lines))
        web.driver.find_element("id", "go").click()
        assert fault(web)[:2] == ["text 71: 24 characters", "expected: at most 10"]
        # The browser itself notes the status 413; nothing else is said.
        assert all("413" in line for line in web.console())


def test_a_server_that_has_gone_is_told(web: Browser, finished_run: Path) -> None:
    with serve(finished_run) as server:
        open_page(web, server)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        web.driver.find_element("id", "texts").send_keys("x")
        web.driver.find_element("id", "go").click()
        assert fault(web)[0] == "the server does not answer"
        assert web.run("return !document.querySelector('#go').disabled")


def test_a_key_is_asked_for_and_kept_out_of_the_address(
    web: Browser, finished_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "key.txt").write_text("0123456789abcdef")
    with serve(finished_run, "--api-key-file", tmp_path / "key.txt") as server:
        web.open(server.address)
        wait_until(lambda: web.run("return document.activeElement.id") == "key", 10)
        press(web, "wrong", ENTER)
        about = "return document.querySelector('#about').textContent"
        wait_until(lambda: web.run(about) == "That is not the key.", 10)
        press(web, "0123456789abcdef", ENTER)
        wait_until(lambda: not web.run("return document.querySelector('#go').disabled"), 10)
        assert len(classify(web, "a film")) == 1
        assert not any("0123456789abcdef" in url for url in web.requests())
        assert web.run("return localStorage.length + sessionStorage.length") == 0


def test_hostile_texts_labels_and_names_are_inert(web: Browser, hostile: Server) -> None:
    open_page(web, hostile)
    texts = [text for text in (*HOSTILE, *UNWIELDY) if "\n" not in text]
    web.run(
        DROP,
        "text\n" + "".join(f'"{t.replace(chr(34), chr(34) * 2)}"\n' for t in texts),
        HOSTILE[0],
    )
    wait_until(lambda: web.run("return !document.querySelector('#columns').hidden"), 10)
    web.driver.find_element("id", "explain").click()
    web.driver.find_element("id", "go").click()
    shown = answers(web)
    assert [one["text"] for one in shown] == texts
    assert HOSTILE[1] in web.run("return document.querySelector('#about').textContent")
    own = re.compile(r"(page\.js|page\.css|report\.css|openapi\.json)$")
    check_none([each for each in web.run(LEADING_OUT) if not own.search(each)])
    assert all(text.startswith("\u202e") for text in web.run(TURNED))
    made = "return document.querySelectorAll('#list script, #list img, #list a').length"
    assert web.run(made) == 0
    check_quiet(web, hostile)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", list(WIDTHS))
@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_it_is_readable_on_every_screen(
    web: Browser,
    request: pytest.FixtureRequest,
    pictures: Path,
    which: str,
    width: int,
    scheme: str,
) -> None:
    server = request.getfixturevalue(which)
    axe = axe_source(request.config)
    open_page(web, server, width, scheme)
    check_none(web.run(FAINT, SMALLEST, CONTRAST))
    web.run(DROP, "text\nx\n", "films.csv")
    wait_until(lambda: web.run("return !document.querySelector('#columns').hidden"), 10)
    web.driver.find_element("id", "forget").click()
    classify(web, "a wonderful film, of which much can be said\na dreadful film\nx", explain=True)
    web.run("document.querySelector('#fault').hidden = false;"
            "document.querySelector('#fault').textContent = 'a fault of the page'")  # fmt: skip
    check_none(web.run(UNREADABLE, width, True))
    check_none(web.run(FAINT, SMALLEST, CONTRAST))
    check_axe(web, axe)
    height = web.run("return document.documentElement.scrollHeight")
    picture = web.picture(x=0, y=0, width=width, height=min(height, 4_000))
    (pictures / f"page-{which}-{width}-{scheme}.png").write_bytes(picture)
