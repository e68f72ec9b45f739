"""The record of a run: its rows, its files, and its published schema."""
