"""The pages in a real headless Chromium: filters, details, links, layouts, and that hostile text stays text."""
import shutil
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import example_run
from mutants_test import make_mutants
from shardcts_reports.__main__ import write_report
from shardcts_reports.mutants import render_html as render_mutants

pytestmark = pytest.mark.browser
DEADLINE_S = 20
HOSTILE = "</script><img src=x onerror=document.title='hit'><script>document.title='hit'</script>"


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.fail("chromium and chromedriver are not installed: ci/setup.sh installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    made.set_page_load_timeout(DEADLINE_S)
    made.set_script_timeout(DEADLINE_S)
    yield made
    made.quit()


@pytest.fixture
def page(browser, tmp_path):
    """open_page(document, hash): the report of this run in the browser; the console must stay silent."""
    def open_page(document, fragment=""):
        folder = example_run.write_run(tmp_path / "out", document)
        browser.get(write_report(folder, folder / "report").as_uri() + fragment)
        return browser
    set_screen(browser, 1280)
    yield open_page
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def set_screen(browser, width, dark=False):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def wait(browser, condition):
    return WebDriverWait(browser, DEADLINE_S).until(lambda _: condition())


def all_of(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def one(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def shown_rows(browser):
    return [row for row in all_of(browser, ".row") if row.is_displayed()]


def shows(browser, count, of=13):
    wait(browser, lambda: one(browser, "#shown").text == f"{count} of {of} tests shown")
    displayed = "return [...document.querySelectorAll('.row')].filter(row => row.getClientRects().length).length"
    return browser.execute_script(displayed) == count


def press(element):
    """A key press, as a reader without a mouse does it."""
    element.send_keys(Keys.ENTER)


def failing_test(document):
    return next(test for test in document["tests"] if test["verdict"] == "fail")


@contextmanager
def filtered(browser, selector, keys=None):
    element = one(browser, selector)
    element.send_keys(keys) if keys else press(element)
    yield
    press(one(browser, "button[type=reset]"))
    assert shows(browser, 13)


def test_filters(page):
    browser = page(example_run.make_run())
    assert shows(browser, 13)
    with filtered(browser, "[data-verdict=hang]"):
        assert shows(browser, 1) and "hang" in shown_rows(browser)[0].text
    with filtered(browser, "#f-text", "sigsegv"):
        assert shows(browser, 1) and "crash" in shown_rows(browser)[0].text
    with filtered(browser, "#f-differences", Keys.SPACE):
        assert shows(browser, 12)
    with filtered(browser, "#f-text", "cached nothing_like_it"):
        assert shows(browser, 0) and not one(browser, ".group").is_displayed()
    with filtered(browser, "#show-problems"):
        assert shows(browser, 8)


def test_suite_and_world_size_filters(page):
    tests = [example_run.make_test("reference", "pass", world_size=size) for size in (2, 4, 8)]
    browser = page(example_run.finish(tests))
    one(browser, "#f-world").send_keys("8")
    assert shows(browser, 1, of=3) and "world_size=8" in shown_rows(browser)[0].text


def test_details_of_a_failing_test(page):
    browser = page(example_run.make_run())
    assert all_of(browser, ".detail") == []
    button = all_of(browser, ".expand")[1]
    press(button)
    assert button.get_attribute("aria-expanded") == "true"
    panels = all_of(browser, ".detail .panel")
    assert len(panels) == 2
    for expected in ("C9 failed on rank 1",
                     "rank 1 · check C9 · model.state_dict · suites/fully_shard_state_dict/dp_save_load.cc:88",
                     "expected 0x1.8p+1 (3.0), got 0x1p+1 (2.0)", "CPU result", "needs CUDA memory statistics",
                     "step 12 model.state_dict, rank 1, 1.0.in_proj.weight: index (3, 2): 2.0 against 3.0",
                     "[] against ['2.out_proj.bias']", "shardcts run --impl reference --filter", "aborted"):
        assert expected in panels[0].text
    press(panels[0].find_elements(By.CSS_SELECTOR, ".logs summary")[1])
    wait(browser, lambda: "rank 1 line 130" in panels[0].text)
    lines = [line for line in panels[0].text.splitlines() if line.startswith("rank 1 line ")]
    assert lines == [f"rank 1 line {number}" for number in range(31, 131)]
    press(button)
    assert not one(browser, ".detail").is_displayed()


def test_details_of_a_waived_and_of_a_flaky_test(page):
    document = example_run.make_run()
    verdicts = [test["verdict"] for test in document["tests"] if test["implementation"] == "reference"]
    document["tests"][2] = example_run.make_flaky(document["tests"][2], "pass", "fail", "pass")
    browser = page(document)
    assert "flaky" in shown_rows(browser)[1].text
    press(all_of(browser, ".expand")[1])
    flaky = all_of(browser, ".detail .panel")[0].text
    assert "REPETITIONS (3)" in flaky and "why pass" in flaky
    press(all_of(browser, ".expand")[verdicts.index("waived")])
    waived = all_of(browser, ".detail .panel")[2].text
    for expected in ("WAIVER", "core team", "fail, C9", "2026-12-31, before version 2.15", "waivers.toml:3",
                     "fail: C9 failed on rank 1"):
        assert expected in waived


def test_a_link_opens_its_test(page):
    document = example_run.make_run()
    browser = page(document, "#" + quote(failing_test(document)["id"], safe=""))
    wait(browser, lambda: len(all_of(browser, ".detail")) == 1)
    assert failing_test(document)["id"] in one(browser, ".detail").text
    assert browser.switch_to.active_element.get_attribute("aria-expanded") == "true"


def test_copy_button(page):
    browser = page(example_run.make_run())
    press(all_of(browser, ".expand")[1])
    button = one(browser, ".reproduce .copy")
    press(button)
    wait(browser, lambda: button.text in ("Copied", "Selected"))


def test_an_incomplete_run_says_so(page):
    browser = page(example_run.make_run() | {"complete": False})
    banner = one(browser, "#incomplete")
    assert banner.is_displayed() and "This run is incomplete." in banner.text
    red, green, _ = channel_values(banner.value_of_css_property("color"))
    assert red > 2 * green


def channel_values(color):
    return [float(part) for part in color[color.index("(") + 1:-1].split(",")[:3]]


def luminance(color):
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
              for value in (channel / 255 for channel in channel_values(color))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(element):
    pair = sorted(luminance(element.value_of_css_property(name)) for name in ("color", "background-color"))
    return (pair[1] + 0.05) / (pair[0] + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280], ids=["narrow", "wide"])
def test_layout(page, request, width, dark):
    browser = page(example_run.make_run())
    set_screen(browser, width, dark)
    press(all_of(browser, ".expand")[1])
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    background = luminance(one(browser, "body").value_of_css_property("background-color"))
    assert (background < 0.1) == dark
    assert min(contrast(badge) for badge in all_of(browser, ".badge")) >= 4.5
    folder = request.config.getoption("--screenshots")
    if folder:
        browser.save_screenshot(f"{folder}/{width}-{'dark' if dark else 'light'}.png")


def test_the_table_of_the_suites_fits_a_screen_of_1280(page):
    labels = ["reference", "python:vendor_of_something.module_with_a_name:Implementation"]
    document = example_run.finish([example_run.make_test(label, "fail") for label in labels])
    (size,) = [suite for suite in document["suites"] if suite["name"] == example_run.SUITE]
    size.update(checks=439, unreached=14)
    browser = page(document)
    widths = "const card = document.querySelector('#suites .table-card'); return [card.scrollWidth, card.clientWidth]"
    needed, there = browser.execute_script(widths)
    assert needed <= there
    last = one(browser, "#suite-table thead th:last-child")
    assert last.rect["x"] + last.rect["width"] <= 1280


def test_why_a_test_failed_stands_in_its_row(page):
    browser = page(example_run.make_run())
    assert not all_of(browser, ".detail")
    said = {row.find_element(By.CSS_SELECTOR, ".badge").text.split(" ", 1)[-1].strip(): row.text
            for row in all_of(browser, ".row")}
    for verdict, why in {"fail": "C9 failed on rank 1", "crash": "signal 11", "hang": "no answer within 30 s"}.items():
        (text,) = [text for name, text in said.items() if verdict in name]
        assert why in text
    assert len(all_of(browser, ".why")) == 9  # of the verdicts that are problems, and of advice


@pytest.mark.parametrize("width", [390, 1280], ids=["narrow", "wide"])
def test_long_labels_and_messages_fit(page, width):
    labels = ["reference", "python:vendor_of_something.module_with_a_name:Implementation",
              "/opt/vendor/lib/libvendor_" + "x" * 80]
    document = example_run.finish([example_run.make_test(label, "fail") for label in labels])
    document["implementations"][2]["device"] = "cuda"
    document["tests"][2]["failures"][0]["message"] = "m" * 500
    browser = page(document)
    set_screen(browser, width)
    press(one(browser, ".expand"))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert "not a GPU result" in one(browser, "#implementations").text


def test_theme_button_wins_over_the_system(page):
    browser = page(example_run.make_run())
    button = one(browser, "#theme")
    seen = []
    for _ in range(3):
        press(button)
        seen.append((button.text, luminance(one(browser, "body").value_of_css_property("background-color")) < 0.1))
    assert seen == [("Theme: light", False), ("Theme: dark", True), ("Theme: auto", False)]


def test_hostile_text_stays_text(page):
    document = example_run.make_run()
    test = failing_test(document)
    test["id"] += HOSTILE
    test["reason"] = test["failures"][0]["message"] = test["reproduce"] = HOSTILE
    test["params"] = {HOSTILE: HOSTILE}
    browser = page(document, "#" + quote(test["id"], safe=""))
    wait(browser, lambda: HOSTILE in one(browser, ".detail").text)
    assert browser.title == "ShardCTS: ShardCTS reference 0.1.0, PyTorch 2.13.0+cpu"
    assert all_of(browser, "img") == []


def test_two_thousand_tests(page):
    tests = [example_run.make_test(label, "pass", f"test_{dim % 20}", mlp_dim=dim) for dim in range(2000)
             for label in ("reference", "torch")]
    browser = page(example_run.finish(tests))
    assert shows(browser, 2000, of=2000)
    one(browser, "#f-text").send_keys("mlp_dim=1999")
    assert shows(browser, 1, of=2000)


def test_mutants_page(browser, tmp_path):
    (tmp_path / "mutants.html").write_text(render_mutants(make_mutants()), encoding="utf-8")
    set_screen(browser, 390)
    browser.get((tmp_path / "mutants.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    one(browser, "details summary").click()
    wait(browser, lambda: len(all_of(browser, "details li")) == 5)
    press(one(browser, "[data-fate=survived]"))
    wait(browser, lambda: one(browser, "#shown").text == "1 of 4 mutants shown")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
