"""Compare the code at two revisions, or in two environments, by the tests of the working tree."""
