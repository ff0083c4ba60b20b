"""What a test says in place of the reader: from Python or from a file, made whole as the API would send it."""
