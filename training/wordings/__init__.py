"""A fact record as report text, in many wordings and four languages."""

from __future__ import annotations

from training.wordings.orders import order_words, typing_noise
from training.wordings.reports import findings_text, impression_text, plain_list, report

__all__ = ["findings_text", "impression_text", "order_words", "plain_list", "report", "typing_noise"]
