"""The process in the pod: ``aixgo serve``."""

from aixgo.rpc.threads import read_in_one_thread

read_in_one_thread()  # here, because every other module of this package may import gRPC
