"""What seawall costs: memory, a restart, a decision. `make bench` runs it; nothing here asserts a time."""
