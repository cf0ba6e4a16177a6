"""A stand-in for the Hugging Face hub on the loopback interface, for the real client."""
