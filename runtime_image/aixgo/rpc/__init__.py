"""gRPC: generated code, conversion, credentials, the service's rules, and a client."""
