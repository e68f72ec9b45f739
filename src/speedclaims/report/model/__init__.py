"""Prepare what a report shows; nothing here draws."""
