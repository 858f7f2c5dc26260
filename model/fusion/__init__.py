"""How vision meets text: one small file for each way."""
