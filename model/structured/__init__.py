"""Structured report templates: read from HTML, filled from a report's words, written out. No torch here."""
