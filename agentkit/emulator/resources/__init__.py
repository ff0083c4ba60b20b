"""What the API keeps or lists besides messages: models, files, batches, containers, threads."""
