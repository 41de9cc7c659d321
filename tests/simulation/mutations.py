"""Defects put into the protocol on purpose, each a small change to the source of one production function.

A mutation names the text it replaces, which must stand there exactly once: one that no longer applies says so, and
never passes for one that was caught.
"""

import inspect
import textwrap
from typing import Any, Final, NamedTuple

import pytest

from models.folds.drawdown import Drawdown
from models.folds.ledger import Ledger as AccountLedger
from streams import checkpoint, recovery
from streams.ledger import Ledger
from streams.ownership import Ownership
from streams.partition import Partition
from streams.recovery import Recovery
from streams.replica import Replica, SharedReplica

SAVE: Final = """self._store.write(cut.rows, cut.vector)"""


class Mutation(NamedTuple):
    """One defect."""

    name: str
    owner: Any
    """The class or module."""
    function: str
    old: str
    new: str

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Put the defect in until the patch is undone."""
        function = getattr(self.owner, self.function)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, f"{self.function} no longer has, once: {self.old}"
        code = compile(source.replace(self.old, self.new), f"<{self.name}>", "exec")
        found: dict[str, Any] = {}
        exec(code, function.__globals__, found)  # noqa: S102  # The function again, with a defect.
        patch.setattr(self.owner, self.function, found[self.function])


MUTATIONS: Final = (
    # --- one commit
    Mutation(
        "positions move before the commit",
        Partition,
        "commit",
        "    if owed:\n",
        "    self._decided_to = position\n    if owed:\n",
    ),
    Mutation(
        "the disk is written before the commit",
        Partition,
        "commit",
        "    if owed:\n",
        f"    if cut is not None:\n        {SAVE}\n    if owed:\n",
    ),
    Mutation(
        "the vector is newer than the rows on the disk",
        Partition,
        "commit",
        SAVE,
        "self._store.write(cut.rows, checkpoint.partition_vector(self.replica, self._trail, cut.vector['shared']))",
    ),
    Mutation(
        "the rows on the disk are newer than the vector",
        Partition,
        "commit",
        SAVE,
        "self._store.write(self._tables.cut(self.replica.state.changed) + cut.rows, cut.vector)",
    ),
    Mutation(
        "a fresher level of checkpoints on the disk clears the one set of changed rows",
        Partition,
        "commit",
        "    if cut is not None:\n        self._store",
        "    if cut is None and self._unsaved:\n"
        "        cut = self._cut()\n"
        "    if cut is not None:\n"
        "        self._store",
    ),
    Mutation(
        "unsaved accounts are forgotten when the cache is full",
        Partition,
        "commit",
        "self._tables.trim(self.replica.state.changed)",
        "self._tables.trim(set())",
    ),
    Mutation(
        "accounts that change during a transaction are not in the next checkpoint",
        Partition,
        "commit",
        SAVE,
        f"{SAVE}\n        self.replica.state.changed.clear()",
    ),
    Mutation(
        "halts go out in a transaction of their own",
        Partition,
        "commit",
        "appended = await self._ledger.commit(owed)",
        "appended = await self._ledger.commit([each for each in owed if each.topic is not Topic.TRADING_HALTS])\n"
        "        appended |= await self._ledger.commit([each for each in owed if each.topic is Topic.TRADING_HALTS])",
    ),
    Mutation(
        "the checkpoint goes out before what it knows",
        Partition,
        "commit",
        "appended = await self._ledger.commit(owed)",
        "await self._ledger.commit([one for one in owed if one.topic is Topic.CHECKPOINTS])\n"
        "        appended = await self._ledger.commit([one for one in owed if one.topic is not Topic.CHECKPOINTS])",
    ),
    Mutation(
        "a failed transaction is tried again",
        Partition,
        "commit",
        "appended = await self._ledger.commit(owed)",
        "try:\n"
        "            appended = await self._ledger.commit(owed)\n"
        "        except Exception:\n"
        "            await self._ledger._producer.abort_transaction()\n"
        "            appended = await self._ledger.commit(owed)",
    ),
    Mutation(
        "a failed transaction is sent again without its checkpoint, and the changed rows are forgotten",
        Partition,
        "commit",
        "appended = await self._ledger.commit(owed)",
        "try:\n"
        "            appended = await self._ledger.commit(owed)\n"
        "        except Exception:\n"
        "            if not self._ledger._producer._in_transaction:\n"
        "                raise\n"
        "            await self._ledger._producer.abort_transaction()\n"
        "            appended = {}\n"
        "            self._owed = [each for each in owed if each.topic is not Topic.CHECKPOINTS] + self._owed\n"
        "            cut = None\n"
        "            position = self._decided_to",
    ),
    Mutation(
        "the status is not evaluated after a decision",
        Partition,
        "_decide_one",
        "self._evaluate(decision.account)",
        "pass",
    ),
    Mutation(
        "a checkpoint leaves deleted rows in the topic",
        checkpoint,
        "outgoing",
        "for row in rows)",
        "for row in rows if row.value is not None)",
    ),
    # --- the ledger
    Mutation(
        "a commit does not await its batches",
        Ledger,
        "commit",
        "first = (await stands).offset",
        "first = 0 if stands.exception() else (await stands).offset",
    ),
    Mutation(
        "every process has a transactional id of its own, so that none fences another",
        Ledger,
        "fence",
        '-{self.partition}"',
        '-{self.partition}-{id(self)}"',
    ),
    # --- what comes in
    Mutation(
        "records that come again are taken in again",
        Partition,
        "_news",
        "[record for record in batch.records if record.offset >= expected]",
        "list(batch.records)",
    ),
    Mutation(
        "a hole is passed over",
        Partition,
        "_news",
        "> expected:",
        "> expected + 10**9:",
    ),
    Mutation(
        "shared records that come again are folded again",
        SharedReplica,
        "fold",
        "if record.offset <= self.folded(record.topic):",
        "if record.offset < 0:",
    ),
    Mutation(
        "a session opened before is opened again",
        Drawdown,
        "_opening",
        "if tick.session <= self.last_session:",
        "if tick.session < self.last_session:",
    ),
    Mutation(
        "an intent sent again is decided like a new one",
        AccountLedger,
        "first_answer",
        "return self.decided.get(intent_id)",
        "return None",
    ),
    # --- recovery
    Mutation(
        "the partition is opened before the earlier owner is fenced",
        Recovery,
        "open",
        "        await self._ledger.fence()  # 1\n"
        "        store = self._open_store()\n"
        "        return await self._recover(store, started)",
        "        store = self._open_store()\n"
        "        opened = await self._recover(store, started)\n"
        "        await self._ledger.fence()\n"
        "        return opened",
    ),
    Mutation(
        "intents decided before are decided again",
        recovery._Tail,
        "decided",
        "    else:\n",
        "    elif record.topic is Topic.TRADING_HALTS:\n",
    ),
    Mutation(
        "halts published before are published again",
        recovery._Tail,
        "decided",
        "    else:\n",
        "    elif record.topic is Topic.RISK_DECISIONS:\n",
    ),
    Mutation(
        "intents that an earlier owner left undecided are passed over",
        Recovery,
        "_next_offsets",
        "max(decided + 1, held.beginning)",
        "held.end",
    ),
    Mutation(
        "the last intent decided is read again",
        Recovery,
        "_next_offsets",
        "max(decided + 1, held.beginning)",
        "max(decided, held.beginning)",
    ),
    Mutation(
        "ticks before the last halt are evaluated again",
        Replica,
        "evaluate",
        "if tick is not None and tick <=",
        "if tick is not None and tick < 0 and tick <=",
    ),
    Mutation(
        "halts that an earlier owner owed are dropped",
        recovery._Tail,
        "tick",
        "self.owed.append(encode_halt(halt))",
        "pass",
    ),
    Mutation(
        "the status is evaluated at the end of the tail only",
        recovery._Tail,
        "tick",
        "if account is None:",
        "if account is None or record.offset % 2:",
    ),
    Mutation(
        "dead letters that an earlier owner owed are dropped",
        recovery._Tail,
        "fold",
        "self.owed += owed",
        "pass",
    ),
    Mutation(
        "dead letters published before are published again",
        recovery._Tail,
        "fold",
        "if letter.key not in self.published",
        "",
    ),
    Mutation(
        "dead letters of the shared topics are left to the owner that saw them first",
        Ownership,
        "_install",
        "partition.owe(letter for letter in letters if letter.key not in opened.published)",
        "pass",
    ),
    Mutation(
        "dead letters of the shared topics are published by every owner",
        Ownership,
        "_install",
        "if letter.key not in opened.published",
        "",
    ),
    Mutation(
        "the partition is opened without the end of reference",
        Recovery,
        "_fold",
        "await self._broadcast.caught_up(bounds)",
        "pass",
    ),
    Mutation(
        "the partition is opened with less of reference than its decisions knew",
        Recovery,
        "_fold",
        "await self._broadcast.covers(replica.known)",
        "pass",
    ),
    Mutation(
        "the partition is opened with less of reference than its checkpoint knew",
        Recovery,
        "_fold",
        "replica.note(known_of(vector))",
        "pass",
    ),
    Mutation(
        "the record after a checkpoint is passed over",
        Recovery,
        "_starts",
        "anchors[topic].offset + 1",
        "anchors[topic].offset + 2",
    ),
    Mutation(
        "the vector of a checkpoint is not restored",
        Recovery,
        "_fold",
        'state.restore(vector["state"])',
        "pass",
    ),
    Mutation(
        "what a checkpoint says of the shared topics is ignored",
        recovery,
        "shared_through",
        "stored.get(topic, -1)",
        "-1",
    ),
    # --- a save in recovery
    Mutation(
        "a save writes the disk before its commit",
        Recovery,
        "_save",
        "appended = await",
        "store.write(rows, vector)\n    appended = await",
    ),
    Mutation(
        "a save publishes the checkpoint before what is due with it",
        Recovery,
        "_save",
        "appended = await self._ledger.commit([*owed, *outgoing(rows, vector)])",
        "await self._ledger.commit(outgoing(rows, vector))\n    appended = await self._ledger.commit(owed)",
    ),
    Mutation(
        "a save leaves what is due to nobody",
        Recovery,
        "_save",
        "[*owed, *outgoing(rows, vector)]",
        "outgoing(rows, vector)",
    ),
    Mutation(
        "a save forgets the dead letters that are due",
        Recovery,
        "_save",
        "[*owed, *outgoing(rows, vector)]",
        "[*(one for one in owed if one.topic is not Topic.DEAD_LETTERS), *outgoing(rows, vector)]",
    ),
    Mutation(
        "a save publishes what is due, and it stays due",
        recovery._Tail,
        "cut",
        "owed, self.owed = self.owed, []",
        "owed = list(self.owed)",
    ),
    Mutation(
        "a save is of the disk alone",
        Recovery,
        "_save",
        "[*owed, *outgoing(rows, vector)]",
        "owed",
    ),
    Mutation(
        "a save is of the topic alone",
        Recovery,
        "_save",
        "store.write(rows, vector)",
        "pass",
    ),
    Mutation(
        "a save forgets accounts that it did not save",
        recovery._Tail,
        "cut",
        "rows = self._tables.cut(changed)",
        "rows = self._tables.cut(sorted(changed)[1:])",
    ),
    Mutation(
        "a save says that dead letters of the shared topics are published",
        recovery._Tail,
        "cut",
        "partition_vector(self.replica, self.trail, self.through)",
        "partition_vector(self.replica, self.trail, {topic: getattr(self.replica.state.shared,"
        " topic.value.replace('-', '_') + '_offset') for topic in self.through})",
    ),
    Mutation(
        "a save hides which dead letters are published of records that it has yet to fold",
        Recovery,
        "_fold",
        "held={Topic.DEAD_LETTERS}",
        "held=frozenset()",
    ),
    Mutation(
        "a save says that decisions knew no more than is published of the shared topics",
        recovery,
        "known_of",
        'vector["known"]',
        'vector["known"] | {topic.replace("-", "_"): offset for topic, offset in vector["shared"].items()}',
    ),
    Mutation(
        "a save adds to rows that the topic has of later records",
        Recovery,
        "_fold",
        "if behind:",
        "if False:",
    ),
    Mutation(
        "rows of another version are added to",
        checkpoint,
        "newest_vector",
        "vector = decode_vector(newest[-1]) if newest else None",
        "vector = {'anchors': {}} if newest else None",
    ),
    Mutation(
        "a beginning leaves the rows of another version in the topic",
        Recovery,
        "_fold",
        "tail.owed += await tombstones(place, self._reader)",
        "pass",
    ),
    Mutation(
        "a beginning deletes rows after its first save",
        recovery._Tail,
        "cut",
        "owed, self.owed = self.owed, []",
        "owed = [one for one in self.owed if one.topic is not Topic.CHECKPOINTS]\n"
        "    self.owed = [one for one in self.owed if one.topic is Topic.CHECKPOINTS]",
    ),
    # --- what there is to begin from
    Mutation(
        "a disk of another log is trusted",
        recovery,
        "verify_anchors",
        "places[place].verify(records[0])",
        "pass",
    ),
    Mutation(
        "a restore leaves what was in the database",
        recovery,
        "restore",
        "    store.clear()\n",
        "",
    ),
    Mutation(
        "a restored database counts before its rows are there",
        recovery,
        "restore",
        "            newest = record.value\n",
        "            newest = record.value\n            store.write([], orjson.loads(newest))\n",
    ),
    Mutation(
        "a restore takes only the last part of the rows",
        recovery,
        "restore",
        "            store.write_part(rows)\n            rows.clear()",
        "            rows.clear()",
    ),
)
