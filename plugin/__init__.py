"""The life of one report, from order to signature, and the proof of it."""
