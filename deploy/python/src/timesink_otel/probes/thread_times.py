"""What a thread did with its time, as others can tell: computed, queued for a processor, slept.

    wall time = processor time + run delay + sleep

Linux tells both: the processor time by a clock of the thread, the run delay (able to run, and not
run by the machine) in the second field of its `schedstat`. The clock is read in a microsecond and
keeps the interpreter; the file takes three and gives it up.
"""

from __future__ import annotations

import os
import sys
import threading
import time


class ThreadTimes:
    """Of the thread that makes it, in nanoseconds; 0 for ever where the system does not tell."""

    def __init__(self):
        get_clock = getattr(time, "pthread_getcpuclockid", None)
        self._clock = get_clock(threading.get_ident()) if get_clock else None
        self._schedstat, self._identity = _open_schedstat()

    def processor_time(self):
        if self._clock is None:
            return 0
        try:
            return time.clock_gettime_ns(self._clock)
        except OSError:
            # The thread is gone, and its clock with it.
            self._clock = None
            return 0

    def tells_delay(self):
        """Tells whether a run delay of 0 is one: on a quiet machine a thread never queues."""
        return self._schedstat is not None

    def run_delay(self):
        """Gives up the interpreter once: the thread that waits for it goes on meanwhile."""
        if self._schedstat is None:
            return 0
        try:
            return int(os.pread(self._schedstat, 80, 0).split()[1])
        except (OSError, ValueError, IndexError, TypeError):
            # The thread is gone, or the file is closed, perhaps just now.
            self.close()
            return 0

    def close(self):
        """Closes the file, unless the service has closed it, as daemons do, and has another one."""
        file, self._schedstat = self._schedstat, None
        try:
            if file is not None and _identity(file) == self._identity:
                os.close(file)
        except OSError:
            pass

    def __del__(self):
        # At interpreter exit modules go away, and the system closes the file.
        if not sys.is_finalizing():
            self.close()


def _open_schedstat():
    try:
        file = os.open("/proc/self/task/%d/schedstat" % threading.get_native_id(), os.O_RDONLY)
    except (OSError, AttributeError):
        return None, None
    try:
        # How often the thread got a processor: kernels that do not count write zeros alone.
        if int(os.pread(file, 80, 0).split()[2]) > 0:
            return file, _identity(file)
    except (OSError, ValueError, IndexError):
        pass
    os.close(file)
    return None, None


def _identity(file):
    status = os.fstat(file)
    return status.st_dev, status.st_ino
