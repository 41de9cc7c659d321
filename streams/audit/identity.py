"""The broker's own ids of topics: one that was deleted and created again under its name has another.

The client does not ask for them, so the request is written down here: Metadata, version 10 (Kafka 2.8).
"""

import uuid
from io import BytesIO
from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from streams.access import Layout
from streams.reader import Reader
from streams.records import Topic

_NAME: Final = CompactString("utf-8")
_NO_ID: Final = str(uuid.UUID(int=0))


class _Uuid(AbstractType):  # type: ignore[misc]  # aiokafka has no types
    """Sixteen bytes."""

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        return str(uuid.UUID(bytes=data.read(16)))

    @classmethod
    def encode(cls, value: str) -> bytes:
        return uuid.UUID(value).bytes


class _Metadata10Response(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", _NAME), ("port", Int32), ("rack", _NAME), ("tags", TaggedFields)
            ),
        ),
        ("cluster_id", _NAME),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _NAME),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _Metadata10(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _Metadata10Response
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _NAME), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_Metadata10]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: Any) -> Any:  # noqa: ANN401  # aiokafka's own signature
        topics: list[tuple[str, str, dict[int, bytes]]] = [(_NO_ID, name, {}) for name in self._names]
        return request_struct_class(topics, False, False, False, {})  # noqa: FBT003  # fields of the request


async def topic_ids(reader: Reader, layout: Layout) -> dict[Topic, str | None]:
    """Return the id of each topic; None where the broker has none."""
    client = reader.client
    found: dict[Topic, str | None] = dict.fromkeys(layout.names)
    try:
        response = await client.send(client.get_random_node(), _MetadataRequest(list(layout.names.values())))
    except NotImplementedError:  # a broker that does not know this version
        return found
    for _, name, topic_id, *_ in response.topics:
        found[layout.names.topic(name)] = None if topic_id == _NO_ID else topic_id
    return found
