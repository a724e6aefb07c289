"""Holds Ctrl-C back in the process that imports it and in those forked from it, until they let it through.

Imported by the process that others are forked from: `multiprocessing` ends a process that is interrupted before its
code begins with exit code 1 and without a word, as no process that was started anew does.
"""

import signal

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
