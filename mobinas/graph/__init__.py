"""What an architecture computes: its lowering to a Graph of layers, and the torch-free interpreters."""
