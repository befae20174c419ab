"""The gRPC runtime beside bare grpc.aio, and what its processes cost to start."""
