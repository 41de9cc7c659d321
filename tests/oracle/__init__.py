"""An independent checker: what docs/risk.md says of a decision, worked out anew from the whole history.

It shares nothing with `models` but the messages on the wire. It keeps every message, folds nothing, and works in
fractions. It is slow on purpose: a position is a sum over a list, a drawdown a walk over every tick, the largest
quantity a search among sizes that pass.
"""
