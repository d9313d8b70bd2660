"""A trained network with all that belongs to it: what it is, where it is kept, what it answers."""
