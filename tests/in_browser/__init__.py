"""The tests in Python as a browser has it: pytest within Pyodide, which is CPython and NumPy as WebAssembly."""
