"""From what is there to what is wanted: one reconcile function per kind, a work queue, and the cache that
feeds them."""
