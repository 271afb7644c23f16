"""A picture of the playground after a compared run, as docs/playground.png: needs chromium and the dev extra.

diffes serve out/bundle --port 3000
python examples/playground_screenshot.py http://127.0.0.1:3000 docs/playground.png
"""

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SEED = 7
LABEL = "ship"
MINUTES = 5 * 60_000  # milliseconds


def main(url: str, out: Path, scheme: str = "light") -> None:
    """Fill the form, wait for both images, look."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
        page = context.new_page()
        page.set_viewport_size({"width": 1280, "height": 720})
        page.goto(url)
        page.get_by_label("Class", exact=True).and_(page.locator("select")).select_option(LABEL)
        page.get_by_label("Random seed").uncheck()
        page.get_by_label("Seed", exact=True).fill(str(SEED))
        page.get_by_label("Compare with dense").check()
        page.get_by_role("button", name="Generate").click()
        page.locator("#verdict b").wait_for(timeout=MINUTES)
        taken = page.screenshot(full_page=True)
        browser.close()
    Image.open(BytesIO(taken)).convert("RGB").quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
