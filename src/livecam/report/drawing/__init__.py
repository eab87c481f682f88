"""Pictures as arrays: strips, grids, charts."""
