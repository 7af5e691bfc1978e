"""Experiments with many cells: what is finished is skipped, what is missing is done, the table is made at the end."""
