"""Judging a drafter: facts are counted, not words; every figure has its interval."""
