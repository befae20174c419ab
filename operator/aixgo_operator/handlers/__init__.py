"""What kopf calls: watch events in, nothing else."""
