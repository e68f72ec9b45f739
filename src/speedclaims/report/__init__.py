"""Render a record for a reader: as a page, as Markdown and as the last lines in the terminal.

Everything here reads a saved record and nothing else: no figure is measured or judged again.
Importing this package is cheap; Jinja2 and rich are imported by the functions that need them.
"""
