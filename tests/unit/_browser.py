"""A real browser for tests of pages, and what several of them look at."""

from __future__ import annotations

import importlib.resources
import shutil
import threading
from typing import Any

import pytest

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DRIVER = shutil.which("chromedriver")
WAIT_S = 60

needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="needs a browser and its driver: apt-get install -y chromium chromium-driver",
)


def start_browser() -> Any:
    """Return a driver of a browser without a window."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


def serve_on_thread(app: Any, options: Any) -> str:
    """Run the search server on a thread of this process; return its address."""
    from featx.serve._server import serve_until_stopped

    ready, found = threading.Event(), []

    def on_ready(where: str) -> None:
        found.append(where)
        ready.set()

    threading.Thread(
        target=serve_until_stopped, args=(app, options, on_ready), daemon=True
    ).start()
    assert ready.wait(WAIT_S)
    return found[0]


def size(driver: Any, width: int, height: int) -> None:
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )


def show_in(driver: Any, scheme: str) -> None:
    """Have pages drawn in a colour scheme, without transitions: a colour between two is faint."""
    asked = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in asked.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def until(driver: Any, script: str) -> None:
    """Wait until a script returns something true."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, WAIT_S, 0.05).until(lambda d: d.execute_script(script), script)


def violations(driver: Any) -> list[Any]:
    """Return what axe-core finds: each rule, and the elements that break it."""
    axe = importlib.resources.files("selenium_axe_python") / "axe-core" / "axe.min.js"
    script = (
        axe.read_text("utf-8") + ";axe.run().then((r) => r.violations.map((v) => "
        "[v.id, ...v.nodes.map((n) => n.html.slice(0, 120))]))"
    )
    parameters = {"expression": script, "awaitPromise": True, "returnByValue": True}
    found = driver.execute_cdp_cmd("Runtime.evaluate", parameters)
    assert "exceptionDetails" not in found, found
    value: list[Any] = found["result"]["value"]
    return value
