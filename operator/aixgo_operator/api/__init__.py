"""The Kubernetes API ``aixgo.dev/v1alpha1``: constants, models, and the generator of the CRDs."""
