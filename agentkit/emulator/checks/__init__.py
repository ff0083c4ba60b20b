"""What is looked at before a request is answered."""
