"""One module per command. Each imports what it needs inside its function, when it runs."""
