"""What runs on the cluster in tests of runtimes: agents of our own, and a client that counts its calls."""
