"""Tests of seawall."""
