"""Many feeders at once: synthetic feeders, their slot loop in blocks, on one process or on Dask workers."""
