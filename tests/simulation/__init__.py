"""The commit protocol and recovery against a log in memory, with faults drawn from a seed."""
