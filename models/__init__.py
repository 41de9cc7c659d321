"""Pure risk rules: everything that decides, and nothing that touches the outside."""
