"""Everything that touches the outside: Kafka, RocksDB, the shell. Decides nothing about risk."""
