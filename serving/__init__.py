"""The HTTP service: endpoints, limits and error mapping around what ``captioner.load`` gives.

BentoML starts the processes, packs the bento and ends it; HTTP is one Starlette app of ours.

    service.py    the BentoML class          __main__.py   ``python -m serving``
    app.py        the table of endpoints     edge.py       what holds for every request
    endpoints/    one file an endpoint       openapi.py    the document at /docs.json
    upload.py     bodies within limits       multipart.py  one file and a few fields
    options.py    strings to values          responses.py  error codes, statuses, JSON bodies
    hosting.py    a loaded bundle            batcher.py    many requests, one model thread
    runtime.py    what one process holds     settings.py   the environment, checked
"""

VERSION = "0.1.0"
