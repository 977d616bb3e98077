"""The site in a browser, without a network: pages, search, and a narrow window.

Needs the site, `make -C docs html`, the system's Chromium and playwright, or the tests
are skipped.
"""

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest

SITE = Path(__file__).parents[1] / "docs" / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 390, "height": 844}

pytestmark = [
    pytest.mark.program,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.skipif(
        not (SITE / "index.html").exists(), reason="no site: make -C docs html"
    ),
]
sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def address():
    """Where the site is served on this machine."""
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield found
        found.close()


@pytest.fixture
def page(browser, address):
    """A page on which no script fails, nothing is missing, and nothing is outside."""
    context = browser.new_context()
    page, wrong = context.new_page(), []

    def check(response):
        outside = not response.url.startswith((address, "data:"))
        if outside or response.status >= 400:
            wrong.append(f"{response.status} {response.url}")

    page.on("response", check)
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    context.close()
    assert not wrong


def shown(page, name):
    """A screenshot where `SITE_SHOTS` says, to be looked at."""
    if folder := os.environ.get("SITE_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=False)


def pictures(page):
    """Widths of the pictures in the text, once they are loaded."""
    page.wait_for_load_state("networkidle")
    return page.eval_on_selector_all(
        "article img", "images => images.map(image => image.naturalWidth)"
    )


def test_the_home_page(page, address):
    page.goto(address)
    assert page.locator("article h1").inner_text().startswith("jaxnoise")
    assert pictures(page) and all(pictures(page))
    shown(page, "home")
    card = page.get_by_text("Every function and layer")
    card.scroll_into_view_if_needed()
    box = card.bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + 5)  # a card is a link as a whole
    page.wait_for_url("**/api/index.html")


def test_a_page_of_the_reference(page, address):
    """Signatures, the law in its box, links between entries."""
    page.goto(f"{address}/api/jaxnoise.html")
    entry = page.locator("dl.function", has=page.locator(r"#jaxnoise\.dropout"))
    text = entry.inner_text()
    for words in ("x: ArrayLike", "bits: int = 32", "Bernoulli(q)", "E[y] = x"):
        assert words in text
    assert entry.locator(".admonition.law").count() == 1
    everything = page.content()
    for words in ("_Sentinel", "PjitFunction", "functools.partial(", "&lt;function"):
        assert words not in everything
    shown(page, "api")


def test_layers_hide_what_nobody_passes(page, address):
    for api in ("linen", "nnx"):
        page.goto(f"{address}/api/{api}.html")
        text = page.locator("article").inner_text()
        for words in ("_Sentinel", "parent:", "**kwargs", "object at 0x"):
            assert words not in text, (api, words)


def test_a_guide(page, address):
    """Code with its output, and a picture."""
    page.goto(f"{address}/guides/recurrent.html")
    assert page.locator(".cell_output").count() >= 3
    assert pictures(page) and all(pictures(page))
    shown(page, "guide")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("zoneout", "Recurrent noise"),
        ("DropConnect", "jaxnoise.tree"),
        ("keep_prob", "Coming from TensorFlow"),
    ],
)
def test_search(page, address, words, found):
    page.goto(f"{address}/search.html?q={words}")
    results = page.locator("#search-results li")
    results.first.wait_for()
    page.wait_for_timeout(500)
    assert any(found in text for text in results.all_inner_texts())
    shown(page, f"search-{words}")


@pytest.mark.parametrize(
    "path",
    [
        "index.html",
        "api/jaxnoise.html",
        "guides/recurrent.html",
        "coming-from/keras.html",
        "laws.html",
        "gallery/plot_dropout.html",
        "guides/speed.html",
    ],
)
def test_a_phone_shows_it_without_scrolling_sideways(page, address, path):
    page.set_viewport_size(PHONE)
    page.goto(f"{address}/{path}")
    width = page.evaluate("document.documentElement.scrollWidth")
    shown(page, "phone-" + path.replace("/", "-"))
    assert width <= PHONE["width"]
