"""What answers without a script: from a question, by fixed rules, to server calls, client calls and a cited answer."""
