"""What pods and Redis servers say of themselves: the operator's eyes beyond the API server."""
