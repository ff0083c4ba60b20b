"""What the API does around the content of a message: ids, signatures, caching, editing, compaction."""
