"""Prove every decision from the topics alone: fold to its `as_of`, decide again, compare bytes.

`audit` judges everything and returns a verdict, and writes evidence if told to. `judgements` yields what comes of
each decision and halt, for whoever wants to look at them. `verify` compares the topics with evidence, and `heads`
returns the last link of every account's chain. docs/design.md says what each proves.
"""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from streams.access import find_gate
from streams.audit import evidence as _evidence
from streams.audit.anchors import Anchored, Head, head_line
from streams.audit.broker import AuditError
from streams.audit.evidence import Verified, heads, verify
from streams.audit.judgement import Judgement, Outcome, Scope
from streams.audit.partition import PartitionAudit
from streams.audit.run import Progress, judge, run
from streams.audit.verdict import Covered, Finding, Kind, Verdict, first_difference
from streams.config import Settings

__all__ = [
    "AuditError",
    "Covered",
    "Finding",
    "Head",
    "Judgement",
    "Kind",
    "Outcome",
    "PartitionAudit",
    "Progress",
    "Scope",
    "Verdict",
    "Verified",
    "audit",
    "first_difference",
    "head_line",
    "heads",
    "judgements",
    "verify",
]


async def audit(
    settings: Settings,
    progress: Callable[[Progress], object] = lambda _progress: None,
    *,
    scope: Scope = Scope(),  # noqa: B008  # immutable
    jobs: int | None = 1,
    evidence: Path | None = None,
    anchors: Path | None = None,
) -> Verdict:
    """Audit everything that the topics hold now.

    Args:
        settings: How to reach the broker.
        progress: Called now and then with how far it has come.
        scope: What is to be judged; by default everything.
        jobs: How many processes to use; None for as many as there are cores, where there is enough to do. More than
            one needs a program that can be started again: a script behind `if __name__ == "__main__"`.
        evidence: A folder to be made, with what a third party needs.
        anchors: An earlier evidence folder, or a folder of them. With `scope.since` the audit goes on from the newest
            that ends before it; where there is none, or no `since`, it begins at the beginning.

    Raises:
        AuditError: If the topics do not begin at their beginning, or the folder cannot be used.
        GateUnavailableError: If there is no broker, or no topics.
    """
    anchored: Anchored | None = None
    if anchors is not None and scope.since is not None:
        anchored = _evidence.anchored_before(anchors, scope.since, (await find_gate(settings)).partitions)
    if evidence is not None:
        _evidence.prepare(evidence)
    result = await run(settings, progress, scope=scope, jobs=jobs, anchored=anchored, folder=evidence)
    if anchored is not None:
        result.verdict.notes.insert(0, f"gone on from the state in {anchored.folder}, which is trusted as it is")
    elif anchors is not None:
        result.verdict.notes.insert(
            0, f"{anchors} has no clean evidence from before that time: begun at the beginning"
        )
    if evidence is not None:
        _evidence.write(evidence, result, scope, anchored)
    return result.verdict


def judgements(
    settings: Settings,
    verdict: Verdict,
    scope: Scope = Scope(),  # noqa: B008  # immutable
) -> AsyncGenerator[Judgement]:
    """Yield each decision and halt with what came of taking it again, partition by partition, in their order.

    Args:
        settings: How to reach the broker.
        verdict: What is found is added to it; it is whole when the last judgement was yielded.
        scope: What is to be judged; what is outside is yielded as PASSED.

    Raises:
        AuditError: If the topics do not begin at their beginning.
        GateUnavailableError: If there is no broker, or no topics.
    """
    return judge(settings, verdict, scope)
