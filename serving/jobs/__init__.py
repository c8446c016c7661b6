"""Long videos: a table of jobs, files, and a process that works through them.

    store.py      the table, in SQLite: what there is to do, how far it is, how it ended
    files.py      a private directory: videos that wait, results, and no more
    runner.py     one instance at a time looks after the process that works
    work.py       that process: ``python -m serving.jobs``
    desk.py       what the endpoints ask, in the event loop

A job is in the table before its id is told to anyone, and its state changes in one statement. So a
service that is killed at any moment finds it again, and runs it anew.
"""
