"""Several brokers that keep copies of each other's records."""

from typing import Self

from tests.kafka import JarsBroker, free_ports, new_cluster_id
from tests.kafka_supply import NoBrokerError


class Cluster:
    """Several brokers of Apache Kafka from jars that keep copies of each other's records. A context manager.

    Args:
        size: How many; each keeps a copy of everything.
    """

    def __init__(self, size: int) -> None:
        ports = free_ports(2 * size)
        voters = {number + 1: (ports[2 * number], ports[2 * number + 1]) for number in range(size)}
        cluster = new_cluster_id()
        self.nodes = [JarsBroker(node, voters, cluster, copies=size) for node in voters]
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)

    def __enter__(self) -> Self:
        """Start every node, and wait until each answers."""
        try:
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait()
        except NoBrokerError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End every node and remove its data."""
        for node in self.nodes:
            node.stop()
