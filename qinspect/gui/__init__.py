"""The window. Only modules in here import Qt and pyqtgraph."""
