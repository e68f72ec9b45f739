"""The functions, files and options that document 004 names, and those before it."""
