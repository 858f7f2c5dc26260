"""The vision half: encoders over the planes of a volume, and heads that find, place and measure."""
