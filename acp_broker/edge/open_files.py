"""How many files this process may have open: each session of a daemon has a log, and an agent with three pipes."""

import resource

# Room for ten thousand sessions. Not the hard limit where that is higher: a container's may be a thousand million, and
# there are agents that begin by closing every descriptor that they might have.
ENOUGH = 65_536


def allow_many() -> int:
    """Raise the soft limit to the hard one, or to ENOUGH; what it is now. Children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a second limit, kern.maxfilesperproc, below what it says is the hard one
        return soft
    return wanted
