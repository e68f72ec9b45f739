"""Images with captions: read, decoded, cached, embedded, and made up."""
