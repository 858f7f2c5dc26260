"""Images and text: from a volume and the words of an order to a draft. Knows no hospital interface."""
