"""Takes the pictures of docs/explorer.md from a running server, whose address it is given.

The server is `classics explore resnet50 inception_v3`.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from explorer.browser import Visit, open_browser  # noqa: E402

SHOTS = (
    ("light", (1440, 900), "#model=inception_v3&block=mixed4&opened=mixed4", "Feature maps"),
    ("dark", (1440, 900), "#model=resnet50&view=ledger&cuts=conv2_block2_add:0", None),
)


def main(address: str) -> None:
    """Take them."""
    with open_browser() as browser:
        for scheme, size, state, section in SHOTS:
            visit = Visit(browser, address, scheme=scheme, size=size)
            page = visit.go(state)
            page.wait_for_load_state("networkidle")
            if section:
                page.get_by_role("region", name=section).evaluate("one => one.scrollIntoView()")
            page.wait_for_timeout(500)
            image = Image.open(BytesIO(page.screenshot())).convert("RGB")
            image.save(ROOT / "docs" / "images" / f"explorer-{scheme}.png", optimize=True)
            visit.close()


if __name__ == "__main__":
    main(sys.argv[1])
