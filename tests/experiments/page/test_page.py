"""The page of a run: complete by itself, true, and readable on a phone."""

import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from experiments.page import figures
from experiments.reporting import intervals
from helpers.browser import browser
from helpers.programs import program, refused

NAMES = ("<b>dark</b>", "bright & clear")  # classes, which a page must escape


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A short run on images whose classes have names like HTML, and its page."""
    root = tmp_path_factory.mktemp("page")
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 5)):
        for name, level in zip(("dark", "bright"), (40, 200), strict=True):
            folder = root / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(level - 30, level + 30, (4, 4, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    run = root / "run"
    small = ("--epochs=2", "--batch_size=8", "--width=2", "--depth=2", "--validation=4")
    result = program("train", f"--data=folder:{root / 'data'}", f"--run={run}", *small)
    assert result.returncode == 0, result.stderr
    assert f"page --run={run}" in result.stdout
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(settings | {"classes": NAMES}))
    result = program("page", f"--run={run}", "--images=2")
    assert result.returncode == 0, result.stderr
    return run / "page.html"


class Parts(HTMLParser):
    """Tags, links to other files, and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        names = ("src", "href", "xlink:href", "data")
        self.links += [value for name, value in attrs if name in names]

    def handle_data(self, data):
        self.text += data


def test_it_needs_nothing_else_and_tells_the_truth(page):
    content = page.read_text()
    parts = Parts(content)
    assert all(link.startswith(("data:", "#")) for link in parts.links)
    assert not {"script", "iframe"} & set(parts.tags)
    assert "url(http" not in content and "@import" not in content
    text = " ".join(parts.text.split())
    test = json.loads((page.parent / "test.json").read_text())
    for name in ("accuracy", "36/255", "0.5", "1.5"):
        assert f"{100 * test[name]:.2f}%" in text
    assert f"{test['mean_radius']:.4f}" in text
    for name in ("certificates.jsonl", "model.npz", "images.npz"):
        assert hashlib.sha256((page.parent / name).read_bytes()).hexdigest() in text
    assert "<b>dark</b>, radius" in text or "bright & clear, radius" in text
    assert "<b>dark" not in content  # escaped
    rows = (page.parent / "certificates.jsonl").read_text().splitlines()
    largest = max(json.loads(row)["radius"] for row in rows)
    shown = [float(v) for v in re.findall(r", radius (\d\.\d{4})", text)]
    assert len(shown) == 4 and 0 <= largest - max(shown) < 1e-4
    found = re.findall(r"or one by (\d\.\d{4}) \(\S+ Attack: (\d+\.\d+)", text)
    assert found and all(float(radius) < float(attack) for radius, attack in found)
    assert parts.tags.count("svg") == 3 and parts.tags.count("img") >= 4
    again = program("page", f"--run={page.parent}", "--images=2", f"--out={page}2")
    assert again.returncode == 0 and (page.parent / "page.html2").read_text() == content


@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_it(page, width):
    """No error in the console, no scrolling sideways, all images, letters to read."""
    with browser(width, 800) as chromium:
        chromium.get(page.as_uri())
        assert chromium.get_log("browser") == []
        look = chromium.execute_script(
            """
            const size = e => parseFloat(getComputedStyle(e).fontSize)
            const texts = [...document.querySelectorAll("p, td, th, figcaption, h2")]
            const drawn = [...document.querySelectorAll("svg")].map(e => {
              const scale = e.getBoundingClientRect().width / e.viewBox.baseVal.width
              return scale * Math.min(...[...e.querySelectorAll("text")].map(size))
            })
            return {
              width: document.scrollingElement.scrollWidth,
              letters: Math.min(...texts.map(size)),
              drawn: Math.min(...drawn),
              images: [...document.images].every(i => i.complete && i.naturalWidth > 0),
              title: document.title,
            }
            """
        )
        picture = chromium.get_screenshot_as_png()
    assert look["width"] == width and look["images"] and "LipConvNet-2" in look["title"]
    assert look["letters"] >= 12 and look["drawn"] >= 7  # CSS pixels
    with Image.open(io.BytesIO(picture)) as shot:
        shades = np.asarray(shot.convert("L"))
    assert shades.shape[1] == width and 0.5 < (shades > 200).mean() < 0.99


def test_a_run_without_certificates_is_told_to_certify(page, tmp_path):
    for name in ("config.json", "checkpoints"):
        (tmp_path / name).symlink_to(page.parent / name)
    assert "has no certificates" in refused("page", f"--run={tmp_path}")
    assert "is not a run" in refused("page", "--run=absent")


@pytest.mark.parametrize("count, total", [(0, 7), (3, 10), (355, 360), (20, 20)])
def test_intervals_cover(count, total):
    """At either end the observed count has a tail of a fortieth, by the binomial."""
    low, high = map(float, intervals.share_intervals(np.array(count), total))
    if count > 0:
        assert stats.binom.sf(count - 1, total, low) == pytest.approx(0.025)
    if count < total:
        assert stats.binom.cdf(count, total, high) == pytest.approx(0.025)
    found = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose((low, high), (found.low, found.high))


def test_nothing_certified_is_a_figure_too():
    assert figures.radii(np.array([-1.0, -1.0])).startswith("<svg")
