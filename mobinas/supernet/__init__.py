"""Weight sharing: the methods that find cells, and the elastic supernet that judges whole architectures."""
