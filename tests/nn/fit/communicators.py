"""Ranks that are threads, with what `fit` asks of mpi4py's communicators: quick, one test sees them all."""

import threading

import numpy as np


class AbortedError(Exception):
    """What all ranks get after one has called Abort."""


class Meeting:
    """Where the threads of a group exchange what they have; one that waits in vain raises after a while."""

    def __init__(self, size):
        self.barrier = threading.Barrier(size, timeout=60)
        self.held = [None] * size

    def exchange(self, rank, call, value):
        self.held[rank] = call, value
        self.barrier.wait()
        found = list(self.held)
        self.barrier.wait()
        assert {each for each, _ in found} == {call}, f"the ranks are in different calls: {found}"
        return [value for _, value in found]


class Communicator:
    def __init__(self, meeting, rank):
        self.rank, self.size, self.meeting = rank, len(meeting.held), meeting

    def Allreduce(self, send, receive):  # noqa: N802 - as mpi4py calls it
        arrays = self.meeting.exchange(self.rank, f"Allreduce {send.dtype} {send.shape}", send.copy())
        receive[...] = np.sum(arrays, axis=0)

    def allgather(self, value):
        return self.meeting.exchange(self.rank, "allgather", value)

    def bcast(self, value):
        return self.meeting.exchange(self.rank, "bcast", value)[0]

    def Abort(self, status):  # noqa: N802
        self.meeting.barrier.abort()
        raise AbortedError(status)


def run(size, work):
    """``work(communicator)`` on so many ranks: what each gave, or the error that it raised."""
    meeting, results = Meeting(size), [None] * size

    def rank(number):
        try:
            results[number] = work(Communicator(meeting, number))
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=rank, args=(number,)) for number in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
