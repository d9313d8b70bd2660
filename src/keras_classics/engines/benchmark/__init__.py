"""How fast a network runs here: our engines and the reference libraries, in one run.

`contenders` says who runs, `worker` is the process of one of them, `measuring` lets them run in
turns, `limits` measures what the processor could do, `results` and `plot` tell what came of it.
"""

from __future__ import annotations
