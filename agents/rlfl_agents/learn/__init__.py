"""What learning computes: pure functions and small controllers, on torch alone."""
