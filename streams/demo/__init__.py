"""`seawall demo`: the crashes of 2008 and 2020, played through a real worker on an embedded broker."""
