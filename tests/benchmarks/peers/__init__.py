"""Listeners of others, which only answer: what ours is measured against.

Each runs in a process of its own on a free port of loopback. Those that are not Python are built on demand
under `.services/bench/` in the checkout; one that cannot be built says why.
"""
