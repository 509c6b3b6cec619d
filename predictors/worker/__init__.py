"""The measuring itself. Runs on Python 3.9 with onnxruntime and NumPy alone, here and packed as one file."""

# Of the messages between worker and host; both must speak the same.
PROTOCOL = 3
