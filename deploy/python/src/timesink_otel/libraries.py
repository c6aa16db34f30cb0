"""Tells which files are a library's: the interpreter's own, and what a package manager installed.

Packages also lie outside of `site-packages`: those of `pip install --target`, of a function in the
cloud, of a PEX. Each has a folder `NAME.dist-info` beside it, whose `RECORD` names its files.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig

import opentelemetry

# Folders of imports of which is known what was installed there: a process has a dozen.
FOLDERS_MAX = 256

_INSTALLED = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
# A line of a `RECORD`: a path with `/`, a hash, a size. With a comma in it the path has quotes.
_MODULE = re.compile(r"^([^,\"\n]+\.py),", re.MULTILINE)


class Libraries:
    def __init__(self):
        self._folders = _own_folders()
        # Folder of imports -> the packages and modules that were installed there.
        self._installed = {}
        # Now, while the service starts: a hundred packages take some 30 ms. A folder that comes
        # later is read at the next file.
        self._read_path()

    def hold(self, path):
        """Tells whether the file of this absolute path is a library's.

        The watchdog asks in the middle of a look: what gives up the interpreter, as a question to
        the system does, is asked only where the folders of imports have changed.
        """
        if _is_installed(path) or path.startswith(self._folders):
            return True
        if self._path != sys.path:
            self._read_path()
        if path.startswith(self._sdk):
            return True
        return any(
            path.startswith(folder) and _lists(packages, path[len(folder) :])
            for folder, packages in self._beside
        )

    def _read_path(self):
        path = list(sys.path)
        # Without the SDK there were no spans, so the user's code is not in there.
        self._sdk = tuple(os.path.join(folder, "") for folder in opentelemetry.__path__)
        installed = [(folder, self._installed_in(folder)) for folder in import_folders()]
        self._beside = [(folder, packages) for folder, packages in installed if packages]
        # At last: another thread that finds it new takes the others for new, too.
        self._path = path

    def _installed_in(self, folder):
        packages = self._installed.get(folder)
        if packages is None:
            if len(self._installed) >= FOLDERS_MAX:
                self._installed.clear()
            known = _is_installed(folder) or folder.startswith(self._folders)
            packages = frozenset() if known else _packages_in(folder)
            self._installed[folder] = packages
        return packages


def _is_installed(path):
    return any(folder in path for folder in _INSTALLED)


def _lists(packages, path):
    return not packages.isdisjoint(_ancestors(path))


def import_folders():
    """Returns the working directory and the folders that imports come from, the longest first."""
    try:
        here = [os.getcwd()]
        folders = {os.path.abspath(folder) for folder in sys.path if folder}
    except OSError:
        # A worker of a release that was removed meanwhile: what is relative to it is nowhere.
        here, folders = [], {folder for folder in sys.path if os.path.isabs(folder)}
    roots = here + sorted(folders, key=len, reverse=True)
    return tuple(os.path.join(root, "") for root in roots)


def _own_folders():
    """Returns our own folder, the standard library's, and where the interpreter installs to."""
    here = os.path.dirname(os.path.abspath(__file__))
    paths = sysconfig.get_paths()
    folders = {here, os.path.dirname(os.path.abspath(os.__file__))}
    folders.update(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib", "scripts"))
    return tuple(sorted(os.path.join(os.path.abspath(folder), "") for folder in folders))


def _packages_in(folder):
    """Returns the packages and lone modules that the distributions in a folder installed there."""
    packages = set()
    for name in _names_in(folder):
        if name.endswith(".dist-info"):
            packages.update(_packages_of(_text_of(os.path.join(folder, name, "RECORD"))))
    return frozenset(packages)


def _packages_of(record):
    """Returns for each module that is listed the outermost package around it, or itself.

    A folder without `__init__.py` may hold packages of many, also the user's.
    """
    modules = [path for path in _MODULE.findall(record) if not path.startswith("../")]
    packages = {path[: -len("/__init__.py")] for path in modules if path.endswith("/__init__.py")}
    for path in modules:
        yield next((folder for folder in _ancestors(path) if folder in packages), path)


def _ancestors(path):
    """Returns the folders that a relative path goes through, the outermost first, and itself."""
    path = path.replace(os.sep, "/")
    return [path[: match.start()] for match in re.finditer("/", path)] + [path]


def _names_in(folder):
    try:
        return os.listdir(folder)
    except OSError:
        # Not there, or an archive.
        return ()


def _text_of(file):
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except OSError:
        return ""
