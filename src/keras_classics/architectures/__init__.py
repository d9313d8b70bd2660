"""The networks: one file a paper, one frame that builds them all, and what a built graph tells."""
