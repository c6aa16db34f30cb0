"""Tells when a module has been imported, and how long the outermost import took.

Both hang on `importlib._bootstrap._find_and_load`, which the `import` statement and
`importlib.import_module` call for modules that are not loaded yet, and only for these (CPython
3.3 to 3.14). So an import of a loaded module costs nothing, where a wrapper around
`builtins.__import__` would slow every one, and no loader is exchanged, which a hook on
`sys.meta_path` would have to do. An interpreter without that function gets no late patches.
"""

from __future__ import annotations

import importlib
import sys
import threading
from time import monotonic_ns

_bootstrap = importlib._bootstrap


class Imports:
    def __init__(self):
        self._wanted = {}
        self._original = None
        self._replacement = None
        self._nesting = threading.local()
        # Called with (name, start, end) after an outermost import; set by the `imports` probe.
        self.listener = None

    def start(self):
        self._original = getattr(_bootstrap, "_find_and_load", None)
        if self._original is not None:
            self._replacement = self._watching(self._original)
            _bootstrap._find_and_load = self._replacement

    def stop(self):
        if self._original and _bootstrap._find_and_load is self._replacement:
            _bootstrap._find_and_load = self._original
        self._wanted.clear()
        self.listener = None

    def when_imported(self, name, callback):
        self._wanted.setdefault(name, []).append(callback)
        if name in sys.modules and not _is_initializing(sys.modules[name]):
            self._tell(name)

    def forget(self, name, callback):
        callbacks = self._wanted.get(name, [])
        if callback in callbacks:
            callbacks.remove(callback)

    def _watching(self, find_and_load):
        nesting = self._nesting

        def _find_and_load(name, import_):
            depth = getattr(nesting, "depth", 0)
            nesting.depth = depth + 1
            start = monotonic_ns() if depth == 0 else 0
            try:
                module = find_and_load(name, import_)
            finally:
                nesting.depth = depth
            if name in self._wanted:
                self._tell(name)
            listener = self.listener
            if depth == 0 and listener is not None:
                listener(name, start, monotonic_ns())
            return module

        return _find_and_load

    def _tell(self, name):
        for callback in self._wanted.pop(name, ()):
            callback(sys.modules[name])


def _is_initializing(module):
    return getattr(getattr(module, "__spec__", None), "_initializing", False)
