"""Peers' defects as a regression suite: one test for each thing that another project does and seawall must not.

Each docstring names the project with its version or commit and the file, and says in our words what that code does
there. It was read, not run, and it is no verdict on the project: most of these are choices that suit a backtest or a
single trader, and versions move on, so each statement is about the version named and no other. The tests run seawall
alone. docs/peers.md is the same in one table; test_table.py holds the two together.
"""
