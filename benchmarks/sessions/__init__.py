"""Session stores side by side: ours, its peers, and what the disk and the network allow."""
