"""The base of every error that a user can cause and mend, and the words for those of the machine."""

import errno
import os
import re
import shutil
from typing import Final


class FeropsError(Exception):
    """A mistake in input, parameters or surroundings: one line that names the fact and the way out.

    The command line and the stages print it without a traceback and exit with status 1.
    """


_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_YOURS: Final = {errno.EROFS, errno.EACCES, errno.EPERM}


def of_the_machine(error: OSError) -> str:
    """One line for a full disk, a read-only folder and the like, with what to do."""
    if isinstance(error, shutil.Error):  # copytree goes on after a failure, and tells them all in the end
        error = OSError(error.args[0][0][2])
    code, told = error.errno, " ".join(str(error).split())
    if code is None and (named := re.match(r"\[Errno (\d+)\]", told)):
        code = int(named[1])
    if code is None and "requested and" in told:  # what numpy says where a disk is full
        code = errno.ENOSPC
    reason = told if code is None else os.strerror(code)  # h5py and pyarrow tell more than a line
    where = f"{error.filename}: " if error.filename else ""
    way_out = (
        "; free some space and run it again, nothing finished is lost"
        if code in _FULL
        else "; make it writable for this user and run it again"
        if code in _NOT_YOURS
        else ""
    )
    return f"{where}{reason}{way_out}"
