"""Run a script, or with -m a module, with the tests' double of CuPy in CuPy's place: python on_double.py SCRIPT ARGS"""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

if __name__ == "__main__":
    import cupy_double

    sys.modules["cupy"] = cupy_double
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
