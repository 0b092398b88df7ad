"""What has been seen so far, in numpy: filled by the worker, read by the viewer."""
