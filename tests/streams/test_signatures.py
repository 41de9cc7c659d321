"""Signed commands, with real keys: files, replicas, checkpoints and audits."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.authority import signed_bytes
from models.canonical import SECOND_NS, canonical_bytes
from models.decisions import AccountStatus
from models.messages import (
    EVERY,
    AccountRecord,
    Command,
    EquityMark,
    KillMode,
    KillScope,
    KillSwitch,
    LimitProfile,
    OperatorHalt,
    OperatorKeys,
    OrderIntent,
    OrderType,
    Resume,
    Side,
)
from models.state import State
from streams import broadcast, partition
from streams.codec import Codec
from streams.config import ConfigurationError, Settings
from streams.operator_keys import KeyFold
from streams.publisher import Publisher
from streams.records import Batch, Record, Topic
from streams.replica import Replica, SharedReplica
from streams.signatures import KeyFileError, generate, load_private_key, load_public_key, signer, verify
from tests.streams.audited import audited
from tests.streams.in_process_gate import NOW, InProcessGate
from tests.streams.signed import SIGNERS, keys, signed
from tests.streams.test_partition import Bench

WHO: dict[str, Any] = {"actor": "jo", "reason": "test"}


# --- files


def test_a_new_key_signs_and_its_public_key_verifies(tmp_path: Path) -> None:
    file = tmp_path / "jo"
    public = generate(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_public_key(tmp_path / "jo.pub") == public
    key = load_private_key(file)
    signature = key.sign(b"words").hex()
    assert verify(public, signature, b"words")
    assert not verify(public, signature, b"word")
    assert not verify(SIGNERS["k1"].public_key, signature, b"words")
    assert not verify("f" * 64, signature, b"words")  # no point of the curve


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "jo"
    generate(file)
    before = file.read_bytes()
    with pytest.raises(KeyFileError, match=r"cannot write .*jo\.pub: File exists"):
        generate(file)
    (tmp_path / "jo.pub").unlink()
    with pytest.raises(KeyFileError, match=r"cannot write .*jo: File exists"):
        generate(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_private_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "jo"
    generate(file)
    file.chmod(mode)
    with pytest.raises(KeyFileError, match=f"has mode 0{mode:o}: `chmod 600"):
        load_private_key(file)


def test_what_is_no_key_is_refused_and_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "jo"
    generate(file)
    text = file.read_bytes()
    secret = text.splitlines()[1]
    for number, wrong in enumerate((b"", text[:-40], secret, (tmp_path / "jo.pub").read_bytes())):
        other = tmp_path / str(number)
        other.write_bytes(wrong)
        other.chmod(0o600)
        with pytest.raises(KeyFileError, match="must be an Ed25519 private key in PEM, not encrypted") as caught:
            load_private_key(other)
        assert secret.decode() not in str(caught.value)
    with pytest.raises(KeyFileError, match="must be an Ed25519 public key in PEM") as caught:
        load_public_key(file)
    assert secret.decode() not in str(caught.value)
    with pytest.raises(KeyFileError, match=r"cannot read .*: No such file or directory"):
        load_private_key(tmp_path / "nothing")


def test_settings_name_the_key_and_show_nothing_of_it(tmp_path: Path) -> None:
    file = tmp_path / "jo"
    public = generate(file)
    signing = signer(Settings(signing_key=file, signing_key_id="jo"))
    assert signing is not None
    assert (signing.public_key, repr(signing)) == (public, "Signer('jo')")
    assert signer(Settings()) is None
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"^SEAWALL_SIGNING_KEY: .* must be its owner's alone"):
        signer(Settings(signing_key=file, signing_key_id="jo"))


def test_a_publisher_signs_commands_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "jo"
    public = generate(file)
    publisher = Publisher(Settings(signing_key=file, signing_key_id="jo"))
    resume = Resume(account="A", event_time=NOW, **WHO)
    sent = orjson.loads(publisher._encoded(resume, Topic.EQUITY_TICKS))
    assert sent["signed_by"] == "jo"
    replica = Replica(0, Codec(1), State(SharedReplica(Codec(1)).shared))
    first = OperatorKeys(event_time=1, keys={"jo": public}, **WHO)
    assert replica.fold(tick(0, canonical_bytes(first), key=b"any")).unauthorized is None
    assert replica.fold(tick(1, orjson.dumps(sent))).unauthorized is None
    mark = EquityMark(account="A", event_time=NOW, equity=Decimal(1))
    assert publisher._encoded(mark, Topic.EQUITY_TICKS) == canonical_bytes(mark)
    assert publisher._encoded(SIGNERS["k1"].sign(resume, Topic.EQUITY_TICKS), Topic.EQUITY_TICKS) == signed(
        resume, Topic.EQUITY_TICKS, "k1"
    )
    short = Resume.model_validate_json(b'{"account":"A","event_time":1,"actor":"jo","reason":"r","signed_by":"k1"}')
    elsewhere = SIGNERS["k1"].key.sign(signed_bytes(short, Topic.EQUITY_TICKS)).hex()
    passed_on = publisher._encoded(short.model_copy(update={"signature": elsewhere}), Topic.EQUITY_TICKS)
    assert verify(
        SIGNERS["k1"].public_key, elsewhere, signed_bytes(Resume.model_validate_json(passed_on), Topic.EQUITY_TICKS)
    )
    assert Publisher(Settings())._encoded(resume, Topic.EQUITY_TICKS) == canonical_bytes(resume)


# --- replicas


def tick(offset: int, value: bytes, *, key: bytes = b"A", number: int = 0) -> Record:
    return Record(Topic.EQUITY_TICKS, number, offset, NOW, key, value)


def test_a_signature_is_good_for_one_account_and_one_topic() -> None:
    codec = Codec(4)
    accounts = {codec.partition_of(name): name for name in map(chr, range(65, 91))}
    replicas = [Replica(number, codec, State(SharedReplica(codec).shared)) for number in range(4)]
    first = canonical_bytes(keys("k1", at=1))
    for number, replica in enumerate(replicas):
        assert replica.fold(tick(0, first, key=b"any", number=number)).dead_letters == ()
    here, there = accounts[0], accounts[1]
    halt = signed(OperatorHalt(account=here, event_time=NOW, **WHO), Topic.EQUITY_TICKS, "k1")
    assert replicas[0].fold(tick(1, halt, key=here.encode())).dead_letters == ()
    # Moved as it is, it belongs to no account of the other partition; mended to do so, it is not signed.
    assert "the key must be the account" in letter(replicas[1].fold(tick(1, halt, key=there.encode(), number=1)))
    mended = orjson.dumps({**orjson.loads(halt), "account": there})
    folded = replicas[1].fold(tick(2, mended, key=there.encode(), number=1))
    assert folded.unauthorized == letter(folded)
    assert "over this very message, is not" in letter(folded)
    # The other topic's signature of the very same record.
    shared = SharedReplica(codec)
    assert shared.fold(Record(Topic.REFERENCE, 0, 0, NOW, b"any", first)).dead_letters == ()
    for topic, obeyed in ((Topic.EQUITY_TICKS, False), (Topic.REFERENCE, True)):
        value = signed(keys("k2", at=2), topic, "k1")
        folded = shared.fold(Record(Topic.REFERENCE, 0, shared.folded(Topic.REFERENCE) + 1, NOW, b"any", value))
        assert (folded.unauthorized is None) == obeyed


def letter(folded: Any) -> str:
    [refused] = folded.dead_letters
    why: str = orjson.loads(refused.value)["why"]
    return why


act = st.tuples(
    st.sampled_from(["halt", "resume", "keys"]),
    st.sampled_from([None, *SIGNERS]),
    st.sets(st.sampled_from([*SIGNERS])),
)


@given(st.lists(act, max_size=12), st.integers(0, 12), st.integers(0, 10**6))
def test_a_restart_between_signed_commands_is_invisible(acts: list[Any], at: int, bit: int) -> None:
    """And a bit that flips anywhere in a command from the second on never gets it obeyed."""
    codec = Codec(1)
    one = Replica(0, codec, State(SharedReplica(codec).shared))
    other = Replica(0, codec, State(SharedReplica(codec).shared))
    records = [tick(0, canonical_bytes(keys("k1", "k2", at=1)), key=b"any")]
    for number, (what, by, names) in enumerate(acts, 1):
        kinds = {"halt": OperatorHalt, "resume": Resume}
        message: Command = (
            keys(*names, at=number + 1) if what == "keys" else kinds[what](account="A", event_time=NOW, **WHO)
        )
        records.append(tick(number, signed(message, Topic.EQUITY_TICKS, by)))
    for number, record in enumerate(records):
        if number == at:
            saved = orjson.loads(orjson.dumps(other.state.vector()))
            state = State(SharedReplica(codec).shared, other.state.accounts)
            state.restore(saved)
            other = Replica(0, codec, state)
        in_force = one.state.operator_keys
        first = one.fold(record)
        assert first == other.fold(record)
        if in_force is not None and in_force.keys:
            flipped = bytearray(record.value or b"")
            flipped[bit // 8 % len(flipped)] ^= 1 << bit % 8
            state = State(SharedReplica(codec).shared)
            state.operator_keys = in_force
            tampered = Replica(0, codec, state).fold(record._replace(value=bytes(flipped)))
            assert tampered.dead_letters
    assert one.state.vector() == other.state.vector()


# --- workers


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for module in (partition, broadcast):
        monkeypatch.setattr(module, "warn_unauthorized", lambda place, why: lines.append((place, why)))

    def no_exit(doing: str, error: BaseException | str) -> NoReturn:
        raise AssertionError(f"{doing}: {error}")

    monkeypatch.setattr(partition, "fail_stop", no_exit)
    return lines


async def test_a_worker_warns_and_keeps_the_keys_in_its_checkpoint(said: list[tuple[str, str]]) -> None:
    bench = Bench()
    resume = Resume(account="A", event_time=NOW, **WHO)
    values = [
        canonical_bytes(keys("k1", at=1)),
        canonical_bytes(resume),
        signed(resume, Topic.EQUITY_TICKS, "k1"),
        signed(resume, Topic.EQUITY_TICKS, "k2"),
    ]
    records = [tick(offset, value) for offset, value in enumerate(values)]
    bench.partition.fold(Batch(Topic.EQUITY_TICKS, 0, records, start=0, end=len(records)))
    assert [place for place, _ in said] == ["equity-ticks/0@1", "equity-ticks/0@3"]
    await bench.partition.commit()
    [transaction] = bench.ledger.transactions
    letters = [each.key for each in transaction if each.topic is Topic.DEAD_LETTERS]
    assert letters == [b"equity-ticks-0-1", b"equity-ticks-0-3"]
    [(_, _, vector)] = bench.store.written
    restored = State(SharedReplica(Codec(1)).shared)
    restored.restore(orjson.loads(orjson.dumps(vector))["state"])
    replica = Replica(0, Codec(1), restored)
    assert replica.fold(tick(4, canonical_bytes(resume))).unauthorized is not None
    assert replica.fold(tick(5, signed(resume, Topic.EQUITY_TICKS, "k1"))).unauthorized is None


def test_a_log_of_signed_and_unsigned_commands_audits_clean() -> None:
    """And one without the dead letter of a refused command does not."""
    gate = InProcessGate()

    def refer(message: Command, by: str | None = "k1") -> None:
        gate.fold(gate.append(Topic.REFERENCE, b"any", signed(message, Topic.REFERENCE, by)))

    def command(message: Command, by: str | None = "k1") -> None:
        gate.fold(gate.append(Topic.EQUITY_TICKS, b"A", signed(message, Topic.EQUITY_TICKS, by)))

    def at(seconds: int) -> int:
        return NOW - 100 * SECOND_NS + seconds * SECOND_NS

    def ask(intent_id: str, seconds: int) -> None:
        intent = OrderIntent(
            intent_id=intent_id,
            account="A",
            strategy="s",
            symbol="X",
            side=Side.BUY,
            order_type=OrderType.MARKET,
            event_time=at(seconds),
        )
        gate.decide(gate.append(Topic.ORDER_INTENTS, b"A", canonical_bytes(intent)))

    refer(LimitProfile(event_time=1, profile_id="p", profile_version=1, **WHO), None)
    refer(AccountRecord(event_time=1, account=EVERY, profile_id="p", currency="USD", **WHO), None)
    refer(keys("k1", at=2), None)
    command(keys("k1", at=2), None)
    mark = EquityMark.model_validate_json(orjson.dumps({"account": "A", "event_time": at(0), "equity": "1000"}))
    gate.fold(gate.append(Topic.EQUITY_TICKS, b"A", canonical_bytes(mark)))
    command(OperatorHalt(account="A", event_time=at(1), **WHO))
    ask("i1", 2)
    command(Resume(account="A", event_time=at(3), **WHO), None)
    command(Resume(account="A", event_time=at(3), **WHO), "k2")
    assert [halt.status for halt in gate.all_halts] == [AccountStatus.HALT]
    switch: dict[str, Any] = {"scope": KillScope.GLOBAL, "mode": KillMode.ALL, **WHO}
    refer(KillSwitch(**switch, event_time=3, engaged=True))
    ask("i2", 4)
    refer(KillSwitch(**switch, event_time=4, engaged=False), None)
    ask("i3", 5)
    command(Resume(account="A", event_time=at(6), **WHO))
    assert [halt.status for halt in gate.all_halts] == [AccountStatus.HALT, AccountStatus.NORMAL]
    command(keys("k2", at=3))
    command(OperatorHalt(account="A", event_time=at(7), **WHO))
    command(OperatorHalt(account="A", event_time=at(7), **WHO), "k2")
    assert [halt.status for halt in gate.all_halts[2:]] == [AccountStatus.HALT]
    ask("i4", 8)
    reasons = [[str(reason) for reason in decision.reasons] for decision in gate.decisions]
    assert ["OPERATOR_HALT" in each for each in reasons] == [True, True, True, True]
    assert ["KILL_SWITCH_ALL" in each for each in reasons] == [False, True, True, True]

    log = {topic: list(gate.log[topic]) for topic in Topic}
    verdict = audited(log)
    assert verdict.clean, verdict.findings
    assert (verdict.decisions, verdict.halts, verdict.dead_letters) == (4, 3, 4)
    refused = log[Topic.DEAD_LETTERS].pop()
    assert orjson.loads(refused.value or b"")["why"].startswith("must be signed by a listed operator key, 'k1'")
    [finding] = audited(log).findings
    assert "calls for dead letter equity-ticks-0-7" in finding.what


def test_keys_sent_to_every_partition_are_signed_for_both_topics(tmp_path: Path) -> None:
    file = tmp_path / "jo"
    generate(file)
    sent: list[tuple[Topic, int | None, bytes]] = []

    class Broker(NamedTuple):
        partition: int
        offset: int = 0
        timestamp: int = 0

    class Fake(Publisher):
        async def begin(self, topic: Topic, key: Any, value: Any, *, partition: int | None = None) -> Any:  # noqa: ARG002
            sent.append((topic, partition, value))
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            answer.set_result(Broker(partition or 0))
            return answer

    publisher = Fake(Settings(signing_key=file, signing_key_id="jo"))
    places = KeyFold(3).places
    delivered = asyncio.run(publisher.send_keys(keys("k1", at=1), places))
    assert len(places) == 4
    assert [(place.topic, place.partition) for place in delivered] == places
    assert [(topic, number) for topic, number, _ in sent] == places
    assert len({orjson.loads(value)["signature"] for _, _, value in sent}) == 2
