"""One component of streams at a time, against a hand-written fake of its neighbor."""
