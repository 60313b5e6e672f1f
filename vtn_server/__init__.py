"""OpenADR 2.0b virtual top node."""
