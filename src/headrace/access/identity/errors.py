"""The one error that identity adds to the kernel's tree."""

from headrace.kernel.errors import Denied


class Unproven(Denied):
    """Who is asking is not proven, or not well enough: sign in, or show the second factor."""

    status = 401
