"""Quix Streams: hands each record on, and counts each key's records in its state if asked to.

`python quix.py BOOTSTRAP SOURCE ANSWERS NAME FOLDER SETTINGS [count]`; the settings are the application's, as JSON.
"""

import json
import sys

from quixstreams import Application, State  # type: ignore[import-not-found]  # in an environment of its own


def count(value: bytes, state: State) -> bytes:
    """Count a key's records."""
    state.set("count", state.get("count", 0) + 1)
    return value


if __name__ == "__main__":
    bootstrap, source_name, answers_name, name, folder, settings, *counting = sys.argv[1:]
    app = Application(
        broker_address=bootstrap,
        consumer_group=name,
        state_dir=folder,
        auto_offset_reset="earliest",
        loglevel="WARNING",
        **json.loads(settings),
    )
    source = app.topic(source_name, key_deserializer="bytes", value_deserializer="bytes")
    answers = app.topic(answers_name, key_serializer="bytes", value_serializer="bytes")
    records = app.dataframe(source)
    if counting:
        records = records.apply(count, stateful=True)
    records.to_topic(answers)
    app.run()
