"""The history of the store's tables, run by :mod:`vtn_server.schema`."""
