"""Architectures as pure data: ops, genotypes, architectures and the space that holds them."""
