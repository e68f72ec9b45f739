"""Print the report in a terminal."""
