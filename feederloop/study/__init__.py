"""Studies: the figures of the thesis on our own data, which anyone can repeat (``feederloop study``)."""
