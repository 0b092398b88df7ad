"""Name and version of the program, where every room can read them."""

__version__ = "0.1.0"
PROGRAM = f"ttt3r-viewer {__version__}"
