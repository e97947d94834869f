"""What runs beside minires in a reader's browser: this folder's Python files are the package `live` of every session.

A function of the package, or of minires, is called from a page's script as `session.call("live.module:function", ...)`.
"""

from live.running import show

__all__ = ["show"]
