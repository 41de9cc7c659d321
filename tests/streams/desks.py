"""An operator's shell at a gate in this process: what commands send is folded, decided and published at once."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from models.messages import OperatorKeys
from streams import cli
from streams.codec import Codec
from streams.config import Settings
from streams.desk import Desk
from streams.operator_keys import InForce, KeyFold
from streams.publisher import Delivered, Message, Publisher, destination
from streams.reader import Bounds
from streams.records import Record, Topic, TopicPartition
from streams.starter import starter_records
from tests.streams.in_process_gate import InProcessGate


class LiveGate(InProcessGate):
    """Records have the present time. Without a worker nothing is folded and nothing is published."""

    def __init__(self) -> None:
        super().__init__()
        self.working = True

    def append(self, topic: Topic, key: bytes | None, value: bytes | None) -> Record:
        """Write one record, as a broker would."""
        record = super().append(topic, key, value)._replace(time=time.time_ns())
        self.log[topic][-1] = record
        return record

    def take(self, topic: Topic, key: bytes | None, value: bytes) -> Delivered:
        """Write one record, and let the worker fold it."""
        record = self.append(topic, key, value)
        if self.working:
            self.fold(record)
        return Delivered(topic, 0, record.offset, record.time)


class GateReader:
    """Reads the gate's log as `streams.reader.Reader` reads Kafka's."""

    def __init__(self, gate: InProcessGate) -> None:
        self._gate = gate

    async def bounds(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return what each topic holds."""
        return {place: Bounds(0, len(self._gate.log[place.topic])) for place in places}

    async def read_to_end(
        self, positions: Mapping[TopicPartition, int], fold: Callable[[Record], object]
    ) -> dict[TopicPartition, int]:
        """Hand over every record from the positions on."""
        for place, start in positions.items():
            for record in self._gate.log[place.topic][start:]:
                fold(record)
        return {place: found.end for place, found in (await self.bounds(positions)).items()}


class Shell:
    """The command line at a gate."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.gate = LiveGate()
        self.said = ""
        """What the last command wrote to standard output, and after it what to standard error."""
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.setattr("streams.desk.open_desk", self._open_desk)
        monkeypatch.setattr("streams.desk.send", self._send)
        monkeypatch.setattr("streams.report.open_desk", self._open_desk)
        monkeypatch.setattr("streams.operator_keys.keys_in_force", self._keys_in_force)
        monkeypatch.setattr("streams.operator_keys.set_keys", self._set_keys)
        for record in starter_records("USD", event_time=1):
            self.gate.take(*destination(record), orjson.dumps(record.model_dump(mode="json")))

    @asynccontextmanager
    async def _open_desk(self, _: Settings, account: str | None = None) -> AsyncIterator[Desk]:
        reader: Any = GateReader(self.gate)
        desk = Desk(reader, Codec(1), account)
        await desk.look()
        yield desk

    async def _send(self, settings: Settings, messages: Iterable[Message]) -> list[Delivered]:
        publisher = Publisher(settings)
        delivered = []
        for message in messages:
            topic, key = destination(message)
            delivered.append(self.gate.take(topic, key, publisher._encoded(message, topic)))
        return delivered

    async def _keys_in_force(self, _: Settings) -> InForce:
        fold = KeyFold(1)
        for place in fold.places:
            for record in self.gate.log[place.topic]:
                fold.take(record)
        return fold.keys()

    async def _set_keys(
        self, settings: Settings, record: OperatorKeys, places: Iterable[TopicPartition]
    ) -> list[Delivered]:
        publisher = Publisher(settings)
        return [self.gate.take(topic, b"any", publisher._encoded(record, topic)) for topic, _ in places]

    def sign_with(self, file: object, key_id: str) -> None:
        """Set the key that signs."""
        self._monkeypatch.setenv("SEAWALL_SIGNING_KEY", str(file))
        self._monkeypatch.setenv("SEAWALL_SIGNING_KEY_ID", key_id)

    def answer(self, *, yes: bool) -> list[str]:
        """Sit somebody at the terminal who answers every question; return the questions."""
        questions: list[str] = []

        def confirm(question: str, *, err: bool) -> bool:
            assert err
            questions.append(question)
            return yes

        self._monkeypatch.setattr("streams.cli.acts.terminal", lambda: True)
        self._monkeypatch.setattr("typer.confirm", confirm)
        return questions

    def run(self, *arguments: str) -> int:
        """Run a command; return its exit status."""
        self._capsys.readouterr()
        status = cli.run([*arguments])
        captured = self._capsys.readouterr()
        self.said = captured.out + captured.err
        self.output = captured.out
        assert "this is a defect" not in self.said, self.said
        return status

    def say(self, line: str, *arguments: str) -> int:
        """Run a command written as a line, with a reason; more arguments may contain spaces."""
        return self.run(*line.split(), *arguments, "--reason", "because", "--actor", "jo")

    def mark(self, equity: str, *, account: str = "A", ahead: int = 0) -> None:
        """Mark an account, by a clock that may run ahead (ns)."""
        fields = {"kind": "mark", "account": account, "equity": equity, "event_time": time.time_ns() + ahead}
        self.gate.take(Topic.EQUITY_TICKS, account.encode(), orjson.dumps(fields))

    def sent(self, topic: Topic) -> list[dict[str, Any]]:
        """Return the messages of a topic."""
        return [orjson.loads(record.value or b"null") for record in self.gate.log[topic]]
