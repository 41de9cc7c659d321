"""Faust as its documentation shows it: an agent counts in a Table, and sends each record on. At least once.

`python naive_faust.py BOOTSTRAP SOURCE ANSWERS NAME FOLDER`.
"""

import logging
import sys

import faust

bootstrap, source_name, answers_name, name, folder = sys.argv[1:]
logging.disable(logging.WARNING)  # Its records of every message, which nobody sees, cost an eighth of the time.
app = faust.App(
    name,
    broker=f"kafka://{bootstrap}",
    datadir=folder,
    key_serializer="raw",
    value_serializer="raw",
    topic_partitions=4,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
)
source = app.topic(source_name, partitions=4, key_type=bytes, value_type=bytes)
answers = app.topic(answers_name, partitions=4, key_type=bytes, value_type=bytes)
counts = app.Table("counts", default=int, partitions=4)


@app.agent(source)
async def count(stream: faust.StreamT[bytes]) -> None:
    """Count each account's records."""
    async for key, value in stream.items():
        counts[key] += 1
        await answers.send(key=key, value=value)


if __name__ == "__main__":
    app.finalize()
    faust.Worker(app, loglevel="ERROR", quiet=True).execute_from_commandline()
