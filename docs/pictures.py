"""README's two pictures: `python docs/pictures.py`, where `zoo demo --no-train` left its `demo/`.

What a terminal shows of two commands, and the top of the demo's report, both drawn by Chromium.
"""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

IMAGES = Path(__file__).parent / "images"
COMMANDS = (
    "zoo eval demo/eigenfaces.h5 demo/fisherfaces.h5 --bins demo/held_out.bin"
    " --results demo/results",
    "zoo compare eigenfaces fisherfaces --results demo/results",
)
THEME = TerminalTheme(
    (12, 12, 12), (226, 226, 226), [(0, 0, 0), (244, 80, 80), (152, 224, 36), (224, 192, 70),
    (88, 160, 240), (190, 130, 240), (88, 209, 235), (240, 240, 240)]
)  # fmt: skip
PAGE = '<body style="margin:18px;background:#0c0c0c;font:15px/1.25 monospace">{code}</body>'


def shown(command: str) -> str:
    """What a terminal of 100 columns gets."""
    reader, writer = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm-256color"}
    with subprocess.Popen(command.split(), stdout=writer, stderr=writer, env=environment):
        os.close(writer)
        parts = []
        try:
            while part := os.read(reader, 65536):
                parts.append(part)
        except OSError:  # how Linux says that nobody writes any more
            pass
    os.close(reader)
    return b"".join(parts).decode().replace("\r\n", "\n")


def picture(address: str, target: Path, *, width: int, height: int) -> None:
    """A page's top as PNG, in 256 colours."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        size = (f"--window-size={width},{height}", f"--screenshot={shot}")
        chromium = os.environ.get("ZOO_CHROMIUM") or shutil.which("chromium") or "chromium"
        subprocess.run([chromium, *flags, *size, address], check=True, capture_output=True)
        image = Image.open(shot).convert("RGB")
    # The method that keeps colours of few points, as of a thin line.
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE).save(target, optimize=True)


def main() -> None:
    console = Console(record=True, width=100, file=io.StringIO(), color_system="truecolor")
    for command in COMMANDS:
        console.print(Text(f"$ {command}", style="bold cyan"), soft_wrap=True)
        console.print(Text.from_ansi(shown(command).rstrip()), soft_wrap=True)
        console.print()
    form = PAGE.format(code='<pre style="margin:0;color:#e2e2e2">{code}</pre>')
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "table.html"
        page.write_text(console.export_html(theme=THEME, inline_styles=True, code_format=form))
        picture(page.as_uri(), IMAGES / "table.png", width=1010, height=600)
    picture(Path("demo/report.html").absolute().as_uri(), IMAGES / "report.png",
            width=1200, height=1250)  # fmt: skip


if __name__ == "__main__":
    main()
