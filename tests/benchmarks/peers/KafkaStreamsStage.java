import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams: hands each record on, and counts each key's records in a store if asked to.
 *
 * <p>java KafkaStreamsStage SOURCE ANSWERS [count] NAME=VALUE...; the settings are Kafka Streams' own.
 */
public final class KafkaStreamsStage {
    private static final String STORE = "counts";

    public static void main(String[] arguments) {
        Properties settings = new Properties();
        settings.put("default.key.serde", Serdes.ByteArraySerde.class);
        settings.put("default.value.serde", Serdes.ByteArraySerde.class);
        boolean counting = false;
        for (int i = 2; i < arguments.length; i++) {
            String[] parts = arguments[i].split("=", 2);
            if (parts.length == 2) {
                settings.put(parts[0], parts[1]);
            } else {
                counting = true;
            }
        }

        StreamsBuilder builder = new StreamsBuilder();
        KStream<byte[], byte[]> records = builder.stream(arguments[0]);
        if (counting) {
            // As a DSL count would: persistent, with a changelog; the keys are text.
            builder.addStateStore(
                    Stores.keyValueStoreBuilder(
                            Stores.persistentKeyValueStore(STORE), Serdes.ByteArray(), Serdes.Long()));
            records = records.processValues(Counter::new, STORE);
        }
        records.to(arguments[1]);

        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    Runtime.getRuntime().halt(1);
                    return null;
                });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static final class Counter extends ContextualFixedKeyProcessor<byte[], byte[], byte[]> {
        private KeyValueStore<byte[], Long> counts;

        @Override
        public void init(FixedKeyProcessorContext<byte[], byte[]> context) {
            super.init(context);
            counts = context.getStateStore(STORE);
        }

        @Override
        public void process(FixedKeyRecord<byte[], byte[]> record) {
            Long count = counts.get(record.key());
            counts.put(record.key(), count == null ? 1 : count + 1);
            context().forward(record);
        }
    }
}
