"""The language half: a Llama from a local folder, its tokenizer, its adapters, and who runs it."""
