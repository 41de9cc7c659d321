"""The tables: each a fold of one topic, kept as rows."""
