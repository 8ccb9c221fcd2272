"""The base class of errors that a user can cause and fix, and one-line messages for errors of the operating system."""

import errno
import os
import re
import shutil
from typing import Final


class FeropsError(Exception):
    """A mistake in input, parameters or environment: one line that names the fact and the way out.

    The command line and the stages print it without a traceback and exit with status 1.
    """


class MissingPackage(FeropsError):
    """What was asked for needs a package that is not installed."""


_FREE_SPACE: Final = "; free some space and run it again, nothing finished is lost"
_MAKE_WRITABLE: Final = "; make it writable for this user and run it again"
_WAYS_OUT: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FREE_SPACE),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _MAKE_WRITABLE),
}


def describe_os_error(error: OSError) -> str:
    """Describe a full disk, a read-only folder and the like in one line, with what to do."""
    if isinstance(error, shutil.Error):  # copytree continues after a failure and raises all of them in the end
        error = OSError(error.args[0][0][2])
    code, message = error.errno, " ".join(str(error).split())
    if code is None and (match := re.match(r"\[Errno (\d+)\]", message)):
        code = int(match[1])
    if code is None and "requested and" in message:  # numpy's message where a disk is full
        code = errno.ENOSPC
    reason = message if code is None else os.strerror(code)  # messages of h5py and pyarrow have several lines
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{reason}{_WAYS_OUT.get(code or 0, '')}"
