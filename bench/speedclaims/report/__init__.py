"""What a record looks like to a reader: a page, Markdown and the last lines in the terminal.

Everything here reads a saved record and nothing else: no figure is measured, judged or guessed again.
Importing this package is cheap; Jinja2, matplotlib and rich are imported by the functions that need them.
"""
