"""Logs that earlier rules left. Nothing writes these files anew: what stands in them was decided."""
