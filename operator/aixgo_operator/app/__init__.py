"""The operator's process: settings, leadership, watches, metrics."""
