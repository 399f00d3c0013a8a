"""Pages looked at in headless Chromium."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

WIDTHS = (390, 1280)  # a phone, a desk
NASTY = "</script><img src=x onerror=alert(1)><script>alert('x & \"y\"')</script>"  # for a name
_LISTEN = """<script nonce="probe">
  window.refused = []; addEventListener("securitypolicyviolation", e => refused.push(e.violatedDirective));
</script>"""
_PROBE = """<script nonce="probe">addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("body *")].filter(e => !e.parentElement.closest(".scroll"));
  const wide = boxes.filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + e.className);
  const figures = [...document.querySelectorAll("figure > img")].filter(i => i.offsetParent);
  const broken = [...document.images].filter(i => !i.naturalWidth).length;
  const smallest = Math.min(...figures.map(i => i.width), 9999);
  const scrolled = document.documentElement.scrollWidth;
  document.title = [innerWidth, scrolled, document.images.length, broken, smallest, refused.join(" "), wide.join(" ")]
    .join("|");
})</script>"""


class Probe(NamedTuple):
    """A page in a window ``width`` px wide: how wide it scrolls, its pictures, broken ones, the width of the smallest
    figure, what the page's policy refused, elements that are wider than the window."""

    width: int
    scrolled: int
    n_pictures: int
    broken: int
    smallest: float
    refused: str
    wide: str


def _with_probe(page: str) -> str:
    """The page with scripts that its policy lets run, and no others."""
    policy, own = "default-src 'none';", "default-src 'none'; script-src 'nonce-probe';"
    assert page.count(policy) == 1 and page.index(policy) < page.index("<title>")
    page = page.replace(policy, own).replace("<title>", _LISTEN + "<title>", 1)
    return page.replace("</body>", _PROBE + "</body>")


def _run(folder: Path, *options: str) -> str:
    chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine: the page was not looked at")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=9000", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def probes(page: str, folder: Path) -> list[Probe]:
    """How a page looks in windows of :data:`WIDTHS`."""
    (folder / "probed.html").write_text(_with_probe(page), encoding="utf-8")
    # frames have the width they are given, a window may have a smallest one
    say = "document.title += '[' + this.contentDocument.title + ']'"
    frames = "".join(f'<iframe src="probed.html" width="{w}" style="border:0" onload="{say}"></iframe>' for w in WIDTHS)
    (folder / "frames.html").write_text(f"<title>probe</title>{frames}")
    dumped = _run(folder, "--dump-dom", (folder / "frames.html").as_uri())
    title = re.search(r"<title>probe([^<]*)</title>", dumped)
    assert title, dumped[:300]
    found = [probe.split("|") for probe in re.findall(r"\[([^\]]*)\]", title[1])]
    return sorted(Probe(*map(int, probe[:4]), float(probe[4]), *probe[5:]) for probe in found)


def assert_fits(page: str, folder: Path, smallest: int = 0) -> None:
    """On a phone and on a desk nothing is wider than the window, every picture is shown, figures at least so wide."""
    for probe, width in zip(probes(page, folder), WIDTHS, strict=True):
        assert (probe.width, probe.wide, probe.refused) == (width, "", "") and probe.scrolled <= width
        assert (probe.n_pictures, probe.broken) == (page.count("<img"), 0)
        assert probe.smallest >= min(smallest, width - 40)


def screenshot(page: str, folder: Path, width: int = 1280, height: int = 1600) -> np.ndarray:
    """What a window shows, RGB uint8 [height, width, 3]."""
    (folder / "shown.html").write_text(page, encoding="utf-8")
    options = ["--hide-scrollbars", f"--window-size={width},{height}", f"--screenshot={folder / 'shot.png'}"]
    _run(folder, *options, (folder / "shown.html").as_uri())
    return np.asarray(Image.open(folder / "shot.png").convert("RGB"))
