"""The page in a real browser."""

import asyncio
import csv
import io
import os
import shutil

import pytest

from dsbs_jax.data.tables import ColumnMap
from support.serving import FakeStudent, running, until

webdriver = pytest.importorskip("selenium.webdriver")

# Every test needs a browser.
pytestmark = pytest.mark.slow

MARKUP = '<img src=x onerror="document.title=1"><script>document.title=1</script>'


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads)}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--lang=en"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    service = webdriver.ChromeService(driver)
    with webdriver.Chrome(options=options, service=service) as found:
        found.downloads = downloads
        yield found


class Page:
    """The page of a server in the browser."""

    def __init__(self, browser, server):
        self.browser = browser
        browser.get_log("browser")
        browser.get(server.url)

    def find(self, name):
        return self.browser.find_element("id", name)

    def text(self, name):
        return self.find(name).text

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def wait_for(self, name, text):
        until(lambda: text in self.text(name))

    def wait_for_models(self):
        until(lambda: self.all("textarea"))

    def ask(self, *texts, explain=False):
        self.wait_for_models()
        for box, text in zip(self.all("textarea"), texts, strict=True):
            box.clear()
            box.send_keys(text)
        if explain != self.find("explain").is_selected():
            self.find("explain").click()
        self.find("ask").click()

    def choose(self, path, content):
        self.wait_for_models()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.find("file").send_keys(str(path))

    def errors(self):
        """Returns what the browser reports, such as resources that it refuses."""
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture
def page(browser, server):
    page = Page(browser, server)
    yield page
    assert page.errors() == []


def bars(page):
    return [
        [cell.text for cell in row.find_elements("css selector", "th, td.share")]
        for row in page.all("#bars tr")
    ]


def test_input_is_answered_with_bars_and_rationale(page):
    page.ask("line: no signal", explain=True)
    page.wait_for("label", "line")
    assert bars(page) == [
        ["line", "80.0 %"],
        ["billing", "10.0 %"],
        ["other", "10.0 %"],
    ]
    fill, track = page.all(".fill")[0], page.all(".track")[0]
    assert fill.rect["width"] == pytest.approx(0.8 * track.rect["width"], abs=3)
    rationale = "version 1: line: no signal has 15 characters"
    assert page.text("rationale-text") == rationale
    page.ask("billing")
    page.wait_for("label", "billing")
    assert not page.find("rationale").is_displayed()


def test_markup_of_inputs_and_answers_is_text(browser):
    with running({"tickets": FakeStudent(labels=None)}) as server:
        page = Page(browser, server)
        page.ask(MARKUP.replace(" ", "_"), explain=True)
        page.wait_for("label", "<img_src=x")
        assert page.text("rationale-text").count("<script>") == 1
        assert browser.title == "dsbs_jax"
        assert not page.all("img")
        assert not page.find("shares").is_displayed()
        assert page.errors() == []


def test_error_of_the_server_is_shown(page):
    page.ask("  \n")
    page.wait_for("status", "input: input is blank")
    assert "error" in page.find("status").get_attribute("class")
    assert not page.find("answer").is_displayed()
    # The browser reports each response with an error status.
    (message,) = page.errors()
    assert "422" in message


def test_model_and_columns_are_chosen(browser):
    students = {"one": FakeStudent(), "two": FakeStudent(explain_prefix=None)}
    columns = ColumnMap(template="{topic}: {text}")
    with running(students, columns=columns) as server:
        page = Page(browser, server)
        page.ask("line", "dead")
        page.wait_for("label", "line")
        assert students["one"].calls == [["line: dead"]]
        labels = [label.text for label in page.all("#columns label")]
        assert labels == ["topic", "text"]
        page.find("model").send_keys("two")
        until(lambda: not page.find("explain").is_enabled())
        page.ask("billing", "twice")
        page.wait_for("label", "billing")
        assert students["two"].calls == [["billing: twice"]]


def test_key_is_asked_for(browser, student):
    with running({"tickets": student}, api_key="secret") as server:
        page = Page(browser, server)
        page.wait_for("status", "Enter the server's key.")
        page.find("key").send_keys("secret\t")
        page.ask("line")
        page.wait_for("label", "line")


def test_page_waits_for_the_models(browser, student):
    with running({"tickets": student}, loaded=False) as server:
        page = Page(browser, server)
        page.wait_for("status", "the models are not loaded yet")
        asyncio.run(server.service.store.load())
        page.ask("line")
        page.wait_for("label", "line")
        assert page.text("status") == ""


def test_page_works_with_the_keyboard_and_is_labelled(page):
    page.wait_for_models()
    order = []
    for _ in range(7):
        webdriver.ActionChains(page.browser).send_keys("\ue004").perform()  # Tab
        focused = page.browser.switch_to.active_element
        order.append(focused.get_attribute("id"))
        style = focused.value_of_css_property("outline-style")
        assert style != "none" or focused.tag_name == "body"
    expected = ["model", "column-0", "ask", "explain", "file"]
    assert [name for name in order if name][:5] == expected
    for control in page.all("select, textarea, input:not([hidden]), progress, button"):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("id")
    page.find("column-0").send_keys("line")
    page.find("ask").send_keys("\n")
    page.wait_for("label", "line")
    for name in ("status", "answer", "file-status"):
        assert page.find(name).get_attribute("aria-live") == "polite"
    assert page.browser.execute_script("return document.documentElement.lang") == "en"


# Relative luminance and contrast of two colors, as WCAG 2 defines them.
CONTRAST = """
const light = (color) => {
  const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const background = (element) => {
  const color = getComputedStyle(element).backgroundColor;
  return /, 0\\)$/.test(color) ? background(element.parentElement) : color;
};
return [...document.querySelectorAll("h1, h2, h3, p, label, button, a, th, td")]
  .filter((element) => element.checkVisibility() && element.textContent.trim())
  .map((element) => {
    const pair = [light(getComputedStyle(element).color), light(background(element))];
    pair.sort((a, b) => b - a);
    return [element.outerHTML.slice(0, 60), (pair[0] + 0.05) / (pair[1] + 0.05)];
  });
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(page, tmp_path, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    page.ask("line", explain=True)
    page.wait_for("label", "line")
    page.choose(tmp_path / "rows.csv", "input\nline\n")
    page.wait_for("file-status", "1 row")
    found = page.browser.execute_script(CONTRAST)
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(found) > 15
    assert [pair for pair in found if pair[1] < 4.5] == []


def test_page_fits_a_narrow_screen(page):
    page.ask("line: " + "long" * 50, explain=True)
    page.wait_for("label", "line")
    size = page.browser.get_window_size()
    page.browser.set_window_size(500, 900)
    script = "return document.documentElement.scrollWidth - innerWidth"
    assert page.browser.execute_script(script) <= 0
    page.browser.set_window_size(size["width"], size["height"])


def test_csv_file_is_answered_and_downloaded(page, student, tmp_path):
    rows = [[f"line {i}", "x"] for i in range(150)]
    rows[:2] = [['billing: "twice", really\nand not', MARKUP], ["other: ü", ""]]
    text = io.StringIO()
    csv.writer(text).writerows([["input", "note"], *rows])
    page.choose(tmp_path / "rows.csv", "\ufeff" + text.getvalue())
    page.wait_for("file-status", "rows.csv: 150 rows are answered.")
    assert [text for call in student.calls for text in call] == [row[0] for row in rows]
    cells = [cell.text for cell in page.all("#file-rows tr:first-child td")]
    assert cells == [*rows[0], "billing", "80.0 %", ""]
    page.find("download").click()
    path = page.browser.downloads / "answers.csv"
    until(path.exists)
    with path.open(encoding="utf-8", newline="") as file:
        found = [*csv.DictReader(file)]
    assert [[row["input"], row["note"]] for row in found] == rows
    assert found[0]["predicted_label"] == "billing"
    assert float(found[0]["probability"]) == 0.8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The file has no rows."),
        (b"input\n", "The file has no rows."),
        (b"text\na\n", "The file has no column “input”. It has: text."),
        (b"input\n\xff\n", "The file is not UTF-8."),
        (b'input\n"a\n', "A quote is not closed."),
        (b"input,b\na\n", "Row 1 has 1 cells, expected 2."),
    ],
)
def test_wrong_csv_file_is_explained(page, tmp_path, content, message):
    page.choose(tmp_path / "rows.csv", content)
    page.wait_for("file-status", message)
    assert not page.find("file-result").is_displayed()


def test_row_of_an_error_is_named(page, tmp_path):
    page.choose(tmp_path / "rows.csv", "input,b\n" + "line,c\n" * 100 + " ,c\n")
    page.wait_for("file-status", "row 101: input is blank")
    assert len(page.errors()) == 1


def test_full_queue_delays_a_file(browser, tmp_path):
    student = FakeStudent()
    with running({"tickets": student}) as server:
        page = Page(browser, server)
        page.wait_for_models()
        batcher = server.service.store.get(None).batcher
        batcher._queue_size = 0
        page.choose(tmp_path / "rows.csv", "input\nline\n")
        series = 'dsbs_requests_total{path="/v1/predict",status="429"}'
        until(lambda: server.metric(series) >= 1)
        batcher._queue_size = 10
        page.wait_for("file-status", "1 row is answered.")


def test_file_can_be_cancelled(browser, tmp_path):
    student = FakeStudent()
    student.released.clear()
    with running({"tickets": student}) as server:
        page = Page(browser, server)
        page.choose(tmp_path / "rows.csv", "input\nline\n")
        until(student.started.is_set)
        page.find("cancel").click()
        page.wait_for("file-status", "Cancelled.")
        until(lambda: not page.find("file-work").is_displayed())
        series = 'dsbs_requests_total{path="/v1/predict",status="499"}'
        until(lambda: server.metric(series) == 1)


def test_dropped_file_is_answered(page):
    page.wait_for_models()
    page.browser.execute_script("""
        const data = new DataTransfer();
        data.items.add(new File(["input\\nbilling\\n"], "dropped.csv"));
        const event = new DragEvent("drop", {dataTransfer: data, bubbles: true});
        document.getElementById("drop").dispatchEvent(event);
    """)
    page.wait_for("file-status", "dropped.csv: 1 row is answered.")
