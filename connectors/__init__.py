"""Clinical exchange: bytes from the hospital to clinical words, and back. Knows no model and no case."""
