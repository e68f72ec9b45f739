"""Draw the report as an HTML page."""
