"""Data, splits, augmentation and the training loop."""
