"""OpenADR 2.0b virtual end node and the home behind it."""
