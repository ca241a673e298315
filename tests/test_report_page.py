"""The page of a report in a real Chromium.

Skipped where Chromium is not installed, unless PVN_REQUIRE_CHROMIUM is set.
"""

import html
import json
import os
import re
import shutil
import subprocess

import pytest

from pvn.report import report
from tests.statistics.rows import suite

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000", "--dump-dom"),
)

# Uses the page as a person would, and writes down what it sees.
LOOK = """
<script>
const COLOURS = JSON.parse("%s");  // as [red, green, blue]
addEventListener("load", async () => {
  const wait = () => new Promise((done) => setTimeout(done, 100));
  const table = document.querySelector("table");
  const column = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent == "Episode return");
  const values = () => [...table.tBodies[0].rows].map((row) => +row.cells[column].dataset.sort);
  const seen = {width: innerWidth, before: values()};
  const painted = (canvas) => {  // the number of pixels near each colour
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const counts = COLOURS.map(() => 0);
    for (let i = 0; i < data.length; i += 4) {
      COLOURS.forEach((colour, number) => {
        const near = colour.every((value, k) => Math.abs(value - data[i + k]) < 8);
        if (near && data[i + 3] > 100) counts[number]++;
      });
    }
    return counts;
  };
  await wait();
  seen.scrollWidth = document.documentElement.scrollWidth;
  seen.charts = [...document.querySelectorAll("canvas")].map(painted);
  table.tHead.rows[0].cells[column].click();
  await wait();
  seen.after = values();
  const over = document.querySelector(".u-over");
  const box = over.getBoundingClientRect();
  const at = {clientX: box.left + box.width / 2, clientY: box.top + 5, bubbles: true};
  for (const kind of ["mouseenter", "mousemove"]) over.dispatchEvent(new MouseEvent(kind, at));
  await wait();
  seen.legend = [...over.closest(".uplot").querySelectorAll(".u-value")].map((v) => v.textContent);
  location.hash = "#rows-2-1";
  await wait();
  seen.open = document.getElementById("rows-2-1").closest("details").open;
  parent.postMessage(seen, "*");
});
</script>
"""

# A window may not be narrow, but a frame may. It sends what it saw.
FRAME = """<!doctype html><iframe src="page.html" style="width: %dpx; height: 900px"></iframe>
<script>
onmessage = (event) => {
  const list = document.createElement("pre");
  list.id = "seen";
  list.textContent = JSON.stringify(event.data);
  document.body.append(list);
};
</script>
"""
LIGHT, DARK = ([0, 114, 178], [213, 94, 0]), ([74, 168, 224], [245, 139, 63])


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """look(width, colours): what is seen at that width, and what the console says."""
    chromium = shutil.which("chromium")
    if chromium is None:
        reason = "Chromium is not installed: found no chromium"
        (pytest.fail if "PVN_REQUIRE_CHROMIUM" in os.environ else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("page")
    report([suite(folder / "in")], folder / "out")
    text = (folder / "out" / "report.html").read_text()

    def looked(width, colours, *flags):
        script = LOOK % json.dumps(colours)
        (folder / "page.html").write_text(text.replace("</body>", script + "</body>"))
        frame = folder / "frame.html"
        frame.write_text(FRAME % width)
        done = subprocess.run(
            [chromium, *FLAGS, *flags, f"--user-data-dir={folder}/profile{width}",
             "--window-size=1400,1000", frame.as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        found = re.search(r'<pre id="seen">(.*)</pre>', done.stdout)
        assert found, done.stderr
        console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return json.loads(html.unescape(found[1])), console

    return looked


def test_wide(look):
    seen, console = look(1200, LIGHT)
    assert console == []
    assert len(seen["charts"]) == 8
    # Each has curves in the first two colours of the palette.
    assert all(min(counts) > 20 for counts in seen["charts"]), seen["charts"]
    assert seen["before"] != seen["after"] == sorted(seen["before"], reverse=True)
    # A profile at the middle threshold: the threshold, then a share with its interval for each.
    assert len(seen["legend"]) == 4
    assert all(re.fullmatch(r"[\d.]+( \[[\d.]+, [\d.]+\])?", text) for text in seen["legend"])
    assert seen["open"]


def test_narrow_and_dark(look):
    seen, console = look(390, DARK, "--blink-settings=preferredColorScheme=0")
    assert console == []
    assert seen["width"] == 390
    assert seen["scrollWidth"] <= 390
    assert all(min(counts) > 20 for counts in seen["charts"]), seen["charts"]
