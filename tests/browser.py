"""A page in a real Chromium, and what the tests of pages need besides."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SCREENS = [(width, ratio, theme) for width, ratio in [(1280, 1), (360, 2)] for theme in ("light", "dark")]
EVERY_SCREEN = pytest.mark.parametrize("screen", SCREENS)
ROOT = Path(__file__).resolve().parent.parent
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
# Texts whose colour is less than 4.5 times lighter or darker than what they stand on (WCAG 2.2, AA).
LOW_CONTRAST = """(() => {
    const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = (css) => {
        const [r, g, b] = css.match(/[\\d.]+/g).map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const css = getComputedStyle(node).backgroundColor;
            if (!/, 0\\)$/.test(css)) return css;
        }
        return 'rgb(255, 255, 255)';
    };
    const own = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    return [...document.querySelectorAll('body *')]
        .filter((node) => node.offsetWidth && !node.disabled && own(node))
        .map((node) => {
            const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
            return [(a + 0.05) / (b + 0.05), node.tagName + '.' + node.className];
        })
        .filter(([ratio]) => ratio < 4.5);
})()"""
SMALL_TARGETS = """[...document.querySelectorAll('button, select, input')]
    .filter((node) => node.offsetWidth && node.offsetHeight < 24).map((node) => node.textContent)"""


def run(script: str, *arguments: object, cwd: Path, status: int = 0) -> str:
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_sound(path: Path, samples: Any) -> None:
    import soundfile

    from speech import SAMPLE_RATE

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")


class Page:
    """A page in a running browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self, path: Path | str, width: int = 1280, height: int = 900, theme: str = "light", ratio: float = 1
    ) -> None:
        """Open a file, or an address."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # a target that still scrolls is missed
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.complaints()  # those of the page before
        self.driver.get(path if isinstance(path, str) else path.resolve().as_uri())

    def open_and_check(self, path: Path, width: int, ratio: float, theme: str) -> None:
        """Open a report and check what is on view."""
        self.open(path, width, 800, theme, ratio)
        self.wait("document.querySelector('#viewer').dataset.drawn === 'true'")
        self.check(width)

    def check(self, width: int) -> None:
        """Assert that nothing overflows, that texts have contrast and targets a size."""
        assert self.run("document.documentElement.scrollWidth") <= width
        assert self.run(LOW_CONTRAST) == []
        if width < 600:
            assert self.run(SMALL_TARGETS) == []

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return ({script})", *arguments)

    def wait(self, script: str, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < deadline, script
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        node = self.driver.find_element("css selector", selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", node)
        node.click()

    def drag(self, selector: str, start: int, end: int) -> None:
        """Drag the mouse to the right over an element, from one pixel of its width to another."""
        from selenium.webdriver import ActionChains

        node = self.driver.find_element("css selector", selector)
        middle = node.size["width"] // 2
        moves = ActionChains(self.driver).move_to_element_with_offset(node, start - middle, 0)
        moves.click_and_hold().move_by_offset((end - start) // 2, 5).move_by_offset((end - start) // 2, 0)
        moves.release().perform()

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def texts(self, selector: str) -> list[str]:
        return self.run(
            "[...document.querySelectorAll(arguments[0])].map((node) => node.textContent)", selector
        )

    def complaints(self) -> list[dict[str, Any]]:
        return [entry for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]


def start(profile: Path) -> Any:
    """Return a running Chromium; LookupError where there is none."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        raise LookupError("no chromium and chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(chromedriver))
