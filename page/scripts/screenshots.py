"""Takes the pictures of docs/explorer.md from a running server, whose address it is given.

The server is `classics explore resnet50 inception_v3`. A folder may be named as well, in the place
of docs/images.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from explorer.browser import DESKTOP, PHONE, Visit, open_browser  # noqa: E402

SHOTS = (
    ("light", DESKTOP, "light", "#model=inception_v3&block=mixed4&opened=mixed4", "Feature maps"),
    ("dark", DESKTOP, "dark", "#model=resnet50&view=ledger&cuts=conv2_block2_add:0", None),
    ("phone", PHONE, "light", "#model=resnet50&opened=conv3&block=conv3_block1&view=ledger", None),
)


def main(address: str, folder: str | Path = ROOT / "docs" / "images") -> None:
    """Take them."""
    with open_browser() as browser:
        for name, size, scheme, state, section in SHOTS:
            visit = Visit(browser, address, scheme=scheme, size=size, touch=size == PHONE)
            page = visit.go(state)
            page.wait_for_load_state("networkidle")
            if section:
                page.get_by_role("region", name=section).evaluate("one => one.scrollIntoView()")
            page.wait_for_timeout(500)
            image = Image.open(BytesIO(page.screenshot())).convert("RGB")
            image.save(Path(folder) / f"explorer-{name}.png", optimize=True)
            visit.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
