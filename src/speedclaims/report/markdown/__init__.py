"""Write the report as Markdown."""
