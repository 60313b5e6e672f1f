"""OpenADR 2.0b: model, codec and errors."""
