"""Finds the first frame of a stack that is the user's own code, and names its place.

The user's code is what is no library's (`libraries.py`), nor of an installed script. Packages named
in `TIMESINK_USER_PACKAGES` count although installed.
"""

from __future__ import annotations

import os
import sys
from asyncio import BaseEventLoop, _get_running_loop, current_task

from timesink_otel.emitter import thread_attributes
from timesink_otel.libraries import Libraries, import_folders

# A process has some thousand code objects on the way to its client calls. Templates and `exec`
# make new ones for ever: at the limit the cache starts anew.
CODES_MAX = 4096
# The files that libraries have their code in, likewise.
FILES_MAX = 4096
# Deeper stacks are recursion, where the innermost frames repeat.
FRAMES_MAX = 200

_RUN_ONCE = getattr(getattr(BaseEventLoop, "_run_once", None), "__code__", None)


class UserCode:
    def __init__(self, user_packages=()):
        self._places = {}
        self._library_files = set()
        self._packages = tuple(os.sep + name + os.sep for name in user_packages)
        self._libraries = Libraries()
        self._roots = ()
        self.look_around()

    def find_on(self, loop, frame):
        """Returns the attributes of the innermost user frame on the thread of `loop`, if any.

        Not beyond the task or the loop's own frames: who started the loop does not make the calls
        of its tasks. On a thread without a loop, None, every frame counts.
        """
        if loop is None:
            return self.find(frame)[0]
        task = current_task(loop)
        last = None if task is None else getattr(task.get_coro(), "cr_code", None)
        # Other loops' own frames are C's, which no stack of Python's shows.
        if last is None and not isinstance(loop, BaseEventLoop):
            return None
        return self.find(frame, _RUN_ONCE, last)[0]

    def look_around(self):
        """Asks the system for the working directory, which gives up the interpreter."""
        self._roots = import_folders()

    def find(self, frame, outermost=None, last=None, asks=True):
        """Returns the attributes of the innermost user frame and the frame that it called, if any.

        Without a user frame these are None and the innermost frame. Frames are looked at up to
        the one that runs the code `outermost`, which is left out, or `last`, which is not. The
        attributes are shared: who wants more of them makes a copy. The watchdog has it ask the
        system for nothing, lest the thread that it looks at goes on meanwhile.
        """
        library_files = self._library_files
        below, innermost, greenlet = None, frame, None
        for _ in range(FRAMES_MAX):
            code = frame.f_code
            if code is outermost:
                break
            # Of ten frames on the way nine are a library's.
            if code.co_filename not in library_files:
                place = self._places.get(id(code)) or self._remember(frame, code, asks)
                if place is not None:
                    return place.attributes(frame), below
            if code is last:
                break
            below, frame = frame, frame.f_back
            if frame is None:
                greenlet, frame = _starter(greenlet)
                if frame is None:
                    break
        return None, None if innermost.f_code is outermost else innermost

    def attributes_of_caller(self):
        """Returns thread and code attributes of whoever called into the library that called us."""
        attributes = thread_attributes()
        found = self.find_on(_get_running_loop(), sys._getframe(1))
        if found:
            attributes.update(found)
        return attributes

    def _remember(self, frame, code, asks):
        path = code.co_filename
        if not self._is_user_file(path):
            if len(self._library_files) >= FILES_MAX:
                self._library_files.clear()
            self._library_files.add(path)
            return None
        if len(self._places) >= CODES_MAX:
            self._places.clear()
        if asks:
            # For each new code object: servers change the folder after they have loaded us.
            self.look_around()
        place = _Place(code, self._relative(path), function_name(frame))
        self._places[id(code)] = place
        return place

    def _is_user_file(self, path):
        if path.startswith("<"):
            return False
        path = os.path.abspath(path)
        if any(package in path for package in self._packages):
            return True
        return not self._libraries.hold(path)

    def _relative(self, path):
        path = os.path.abspath(path)
        for root in self._roots:
            if path.startswith(root):
                return path[len(root) :].replace(os.sep, "/")
        return path.replace(os.sep, "/")


def function_name(frame):
    """Returns the function with its module and, from Python 3.11 on, its class."""
    code = frame.f_code
    module = frame.f_globals.get("__name__", "")
    name = getattr(code, "co_qualname", code.co_name)
    return "%s.%s" % (module, name) if module else name


class _Place:
    """A code object of the user's.

    It is found by its identity, so it is held. Code objects that differ in nothing but the file are
    equal, and to hash one costs a walk over its instructions.
    """

    def __init__(self, code, file, function):
        self._code = code
        self._file = file
        self._function = function
        # By instruction: to find its line takes the interpreter longer than all else here.
        self._attributes = {}

    def attributes(self, frame):
        try:
            return self._attributes[frame.f_lasti]
        except KeyError:
            attributes = {"code.file.path": self._file, "code.function.name": self._function}
            if frame.f_lineno is not None:
                attributes["code.line.number"] = frame.f_lineno
            self._attributes[frame.f_lasti] = attributes
            return attributes


def _starter(greenlet):
    """Returns the greenlet that started this one (the current one for None), and its frame.

    SQLAlchemy's asyncio runs the driver in a greenlet, whose own stack does not reach the caller.
    """
    module = sys.modules.get("greenlet")
    if greenlet is None:
        greenlet = module.getcurrent() if module else None
    parent = getattr(greenlet, "parent", None)
    return parent, getattr(parent, "gr_frame", None)
