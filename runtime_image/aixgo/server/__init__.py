"""The process in the pod: ``aixgo serve``."""

from aixgo.rpc.threads import set_up_grpc

set_up_grpc()  # here, because every other module of this package may import gRPC
