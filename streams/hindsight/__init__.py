"""Looking back: one decision explained, everything as a table, and what other limits would have done."""
