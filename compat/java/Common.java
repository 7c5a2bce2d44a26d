import java.time.Duration;
import java.util.*;
import java.util.concurrent.Callable;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/** What the programs share: clients, and lines that say what they saw. */
class Common {
    static final Duration PATIENCE = Duration.ofSeconds(40);
    static final Duration PAUSE = Duration.ofMillis(100);
    /** Part of each name, so that runs do not meet. */
    static final String RUN = "r" + System.nanoTime() / 1_000_000 % 1_000_000;
    static String brokers;
    static Admin admin;

    static void begin(String[] arguments) {
        brokers = arguments[0];
        admin = Admin.create(Map.of("bootstrap.servers", brokers));
    }

    /** A line about a feature: what was seen, or which error. */
    static void feature(String name, Callable<?> seen) {
        String result;
        try {
            result = String.valueOf(seen.call());
        } catch (Throwable error) {
            Throwable cause = error instanceof java.util.concurrent.ExecutionException && error.getCause() != null ? error.getCause() : error;
            result = cause.getClass().getSimpleName();
        }
        System.out.println(name + ": " + result.replace(RUN, "RUN"));
    }

    static String topic(String name, int partitions, Map<String, String> settings) throws Exception {
        String topic = RUN + name;
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(settings))).all().get();
        return topic;
    }

    static KafkaProducer<String, String> producer(Map<String, ?> more) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", brokers));
        config.putAll(more);
        return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(Map<String, ?> more) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", brokers, "auto.offset.reset", "earliest"));
        config.putAll(more);
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    /** All that a topic has, in order. */
    static List<String> all(String topic, String isolation) {
        try (var consumer = consumer(Map.of("isolation.level", isolation))) {
            List<TopicPartition> partitions =
                consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var end = consumer.endOffsets(partitions);
            List<String> found = new ArrayList<>();
            long until = System.currentTimeMillis() + PATIENCE.toMillis();
            while (System.currentTimeMillis() < until && !partitions.stream().allMatch(p -> consumer.position(p) >= end.get(p))) {
                consumer.poll(PAUSE).forEach(r -> found.add(r.key() + "=" + r.value() + "@" + r.partition() + ":" + r.offset()));
            }
            Collections.sort(found);
            return found;
        }
    }

    interface Check { boolean holds() throws Exception; }

    /** Waits until something holds; says whether it came to. */
    static boolean comes(Check check) throws Exception {
        long until = System.currentTimeMillis() + PATIENCE.toMillis();
        while (System.currentTimeMillis() < until) {
            if (check.holds()) return true;
            Thread.sleep(PAUSE.toMillis());
        }
        return false;
    }
}
