"""How fast a network runs here: on our engines, and beside that of keras.applications.

`contenders` says what runs, `preparing` makes what they need, `measuring` lets them run in turns,
each in a process of its own, and `plot` draws what came of it.
"""

from __future__ import annotations
