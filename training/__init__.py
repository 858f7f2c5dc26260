"""The one who fine-tunes: phantoms, corpora, training and evaluation."""
