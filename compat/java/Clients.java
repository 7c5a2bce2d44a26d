import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;

/** Records with every codec, transactions with aborts and fencing, and administration. */
public class Clients extends Common {
    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) feature("codec " + codec, () -> codec(codec));
        feature("idempotent", Clients::idempotent);
        transactions();
        feature("transaction times out", Clients::timesOut);
        patterns();
        administration();
        System.exit(0);
    }

    static Object codec(String codec) throws Exception {
        String topic = topic("codec-" + codec, 1, Map.of());
        try (var producer = producer(Map.of("compression.type", codec, "linger.ms", 100))) {
            for (int i = 0; i < 100; i++) producer.send(new ProducerRecord<>(topic, "k" + i, "v".repeat(i)));
        }
        List<String> read = all(topic, "read_uncommitted");
        return read.size() + " records, hash " + read.hashCode();
    }

    static Object idempotent() throws Exception {
        String topic = topic("idempotent", 1, Map.of());
        try (var producer = producer(Map.of("enable.idempotence", true))) {
            for (int i = 0; i < 20; i++) producer.send(new ProducerRecord<>(topic, "k", "" + i)).get();
        }
        return all(topic, "read_committed").size();
    }

    static void transactions() throws Exception {
        String topic = topic("transactions", 2, Map.of()), id = RUN + "id", group = RUN + "group";
        var producer = producer(Map.of("transactional.id", id));
        producer.initTransactions();
        feature("commit", () -> {
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, "a", "1"));
            producer.send(new ProducerRecord<>(topic, 1, "b", "1"));
            producer.commitTransaction();
            return all(topic, "read_committed");
        });
        feature("open", () -> {
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, "a", "2"));
            producer.flush();
            return all(topic, "read_committed") + " of " + all(topic, "read_uncommitted") + " " + describe(id);
        });
        feature("abort", () -> {
            producer.abortTransaction();
            return all(topic, "read_committed") + " of " + all(topic, "read_uncommitted");
        });
        feature("offsets in a transaction", () -> {
            var consumer = consumer(Map.of("group.id", group, "enable.auto.commit", false));
            consumer.subscribe(List.of(topic));
            comes(() -> { consumer.poll(PAUSE); return consumer.assignment().size() == 2; });
            var partition = new TopicPartition(topic, 0);
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(1, "note")), consumer.groupMetadata());
            producer.commitTransaction();
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(9)), consumer.groupMetadata());
            producer.abortTransaction();
            var committed = consumer.committed(Set.of(partition)).values();
            consumer.close();
            return committed;
        });
        feature("offsets of a stranger", () -> {
            producer.beginTransaction();
            var stranger = new ConsumerGroupMetadata(group, 77, "stranger", Optional.empty());
            producer.sendOffsetsToTransaction(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(5)), stranger);
            producer.commitTransaction();
            return "taken";
        });
        feature("abort after that", () -> { producer.abortTransaction(); return "done"; });
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, 0, "z", "old"));
        producer.flush();
        var next = producer(Map.of("transactional.id", id));
        next.initTransactions();
        feature("fenced write", () -> producer.send(new ProducerRecord<>(topic, 0, "z", "zombie")).get());
        feature("fenced commit", () -> { producer.commitTransaction(); return "taken"; });
        feature("after fencing", () -> {
            next.beginTransaction();
            next.send(new ProducerRecord<>(topic, 0, "z", "new"));
            next.commitTransaction();
            return all(topic, "read_committed").stream().filter(r -> r.startsWith("z")).map(r -> r.split("@")[0]).toList();
        });
        feature("fenced by an administrator", () -> {
            next.beginTransaction();
            next.send(new ProducerRecord<>(topic, 0, "y", "1"));
            next.flush();
            admin.fenceProducers(List.of(id)).all().get();
            next.commitTransaction();
            return "taken";
        });
        feature("list transactions", () ->
            admin.listTransactions().all().get().stream().filter(t -> t.transactionalId().equals(id)).map(TransactionListing::state).toList());
        producer.close(Duration.ZERO);
        next.close(Duration.ZERO);
    }

    static Object describe(String id) throws Exception {
        var found = admin.describeTransactions(List.of(id)).all().get().get(id);
        return found.state() + " " + found.transactionTimeoutMs() + " " + found.topicPartitions().size();
    }

    static Object timesOut() throws Exception {
        String topic = topic("slow", 1, Map.of()), id = RUN + "slow";
        var producer = producer(Map.of("transactional.id", id, "transaction.timeout.ms", 2000));
        producer.initTransactions();
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, "a", "1")).get();
        boolean ended = comes(() -> admin.describeTransactions(List.of(id)).all().get().get(id).state() == TransactionState.COMPLETE_ABORT);
        String late;
        try {
            producer.commitTransaction();
            late = "taken";
        } catch (KafkaException error) {
            late = error.getClass().getSimpleName();
        }
        producer.close(Duration.ZERO);
        return ended + ", " + late + ", " + all(topic, "read_committed");
    }

    static void administration() throws Exception {
        String topic = topic("admin", 2, Map.of("retention.ms", "1234"));
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        feature("describe topic", () -> {
            var found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
            return found.partitions().size() + " " + found.isInternal() + " " + found.partitions().get(0).replicas().size();
        });
        feature("own settings", () -> ownSettings(resource));
        feature("alter settings", () -> {
            var set = new AlterConfigOp(new ConfigEntry("max.message.bytes", "2000"), AlterConfigOp.OpType.SET);
            var delete = new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE);
            admin.incrementalAlterConfigs(Map.of(resource, List.of(set, delete))).all().get();
            return ownSettings(resource);
        });
        feature("too large", () -> {
            try (var producer = producer(Map.of())) {
                return producer.send(new ProducerRecord<>(topic, "k", "v".repeat(5000))).get();
            }
        });
        feature("more partitions", () -> {
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all().get();
            return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
        });
        feature("fewer partitions", () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(1))).all().get());
        feature("delete records", () -> {
            try (var producer = producer(Map.of())) {
                for (int i = 0; i < 10; i++) producer.send(new ProducerRecord<>(topic, 0, "k", "" + i)).get();
            }
            var partition = new TopicPartition(topic, 0);
            var low = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(4))).all();
            low.get();
            return admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).all().get().get(partition).offset();
        });
        feature("offsets by time", () -> {
            var partition = new TopicPartition(topic, 0);
            List<Object> found = new ArrayList<>();
            for (OffsetSpec spec : List.of(OffsetSpec.latest(), OffsetSpec.maxTimestamp(), OffsetSpec.forTimestamp(0), OffsetSpec.forTimestamp(Long.MAX_VALUE / 2)))
                found.add(admin.listOffsets(Map.of(partition, spec)).all().get().get(partition).offset());
            return found;
        });
        feature("delete topic", () -> {
            admin.deleteTopics(List.of(topic)).all().get();
            return comes(() -> !admin.listTopics().names().get().contains(topic));
        });
        feature("unknown topic", () -> admin.describeTopics(List.of(RUN + "none")).allTopicNames().get());
        feature("cluster", () -> {
            var cluster = admin.describeCluster();
            return cluster.nodes().get().size() + " " + cluster.clusterId().get().length() + " " + cluster.controller().get().id();
        });
        feature("quorum", () -> admin.describeMetadataQuorum().quorumInfo().get().voters().size());
        feature("transactions' topic", () -> {
            var found = admin.describeTopics(List.of("__transaction_state")).allTopicNames().get().get("__transaction_state");
            return found.partitions().size() + " " + found.isInternal();
        });
    }

    /** Subscriptions by regular expressions, which the broker reads. */
    static void patterns() throws Exception {
        topic("pattern.a", 2, Map.of());
        topic("pattern.b", 1, Map.of());
        topic("Pattern-c", 1, Map.of());
        pattern("of two", RUN + "pattern\\.[ab]", 3);
        pattern("quoted", "\\Q" + RUN + "pattern.a\\E", 2);
        pattern("without case", "(?i)" + RUN + "PATTERN.+", 4);
        pattern("with a class within", RUN + "p[a-z&&[^q]]ttern.*", 3);
        pattern("repeated twice", RUN + "pattern.*+", 3);
        pattern("of a property", RUN + "\\p{Alpha}attern.*", 3);
        pattern("that is open", RUN + "(pattern", 3);
        feature("pattern of a topic that comes", () -> {
            try (var consumer = consumer(Map.of("group.id", RUN + "coming", "group.protocol", "consumer"))) {
                consumer.subscribe(new SubscriptionPattern(RUN + "coming.*"));
                consumer.poll(PAUSE);
                String topic = topic("coming", 2, Map.of());
                comes(() -> { consumer.poll(PAUSE); return consumer.assignment().size() == 2; });
                return consumer.assignment().stream().map(p -> p.toString().replace(topic, "coming")).sorted().toList();
            }
        });
    }

    static void pattern(String name, String expression, int partitions) {
        feature("pattern " + name, () -> {
            try (var consumer = consumer(Map.of("group.id", RUN + "pattern " + name, "group.protocol", "consumer"))) {
                consumer.subscribe(new SubscriptionPattern(expression));
                long until = System.currentTimeMillis() + 10_000;
                while (System.currentTimeMillis() < until && consumer.assignment().size() < partitions) consumer.poll(PAUSE);
                return consumer.assignment().stream().map(Object::toString).sorted().toList();
            }
        });
    }

    static Object ownSettings(ConfigResource resource) throws Exception {
        var entries = admin.describeConfigs(List.of(resource)).all().get().get(resource).entries();
        return entries.stream().filter(e -> e.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG).map(e -> e.name() + "=" + e.value()).sorted().toList();
    }
}
