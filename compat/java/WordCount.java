import java.nio.file.Files;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;

/** A word count of Kafka Streams, with each group protocol, of two instances one of which comes and goes. */
public class WordCount extends Common {
    static final int LINES = 2000;
    static final int WORDS = 5;

    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        for (String protocol : List.of("classic", "streams"))
            for (String guarantee : List.of("at_least_once", "exactly_once_v2"))
                count(protocol, guarantee);
        System.exit(0);
    }

    static KafkaStreams start(String application, String from, String to, String protocol, String guarantee) throws Exception {
        var builder = new StreamsBuilder();
        builder.stream(from, Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> List.of(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream()
            .to(to, Produced.with(Serdes.String(), Serdes.Long()));
        var config = new Properties();
        config.put("application.id", application);
        config.put("bootstrap.servers", brokers);
        config.put("processing.guarantee", guarantee);
        config.put("group.protocol", protocol);
        config.put("state.dir", Files.createTempDirectory("streams").toString());
        config.put("commit.interval.ms", 200);
        config.put("num.stream.threads", 2);
        if (protocol.equals("classic")) config.put("session.timeout.ms", 6000);
        var streams = new KafkaStreams(builder.build(), config);
        streams.start();
        return streams;
    }

    static void count(String protocol, String guarantee) throws Exception {
        String name = protocol + " " + guarantee + ", ", application = RUN + protocol + guarantee;
        String from = topic("lines-" + application, 4, Map.of()), to = topic("counts-" + application, 4, Map.of());
        if (protocol.equals("streams")) {
            var standby = new AlterConfigOp(new ConfigEntry("streams.num.standby.replicas", "1"), AlterConfigOp.OpType.SET);
            var group = new ConfigResource(ConfigResource.Type.GROUP, application);
            admin.incrementalAlterConfigs(Map.of(group, List.of(standby))).all().get();
        }
        var first = start(application, from, to, protocol, guarantee);
        KafkaStreams[] second = {start(application, from, to, protocol, guarantee)};
        Map<String, Long> expected = new TreeMap<>();
        var random = new Random(7);
        try (var producer = producer(Map.of())) {
            for (int line = 0; line < LINES; line++) {
                var words = new StringJoiner(" ");
                for (int word = 0; word < WORDS; word++) {
                    String next = "w" + random.nextInt(50);
                    words.add(next);
                    expected.merge(next, 1L, Long::sum);
                }
                producer.send(new ProducerRecord<>(from, "" + line, words.toString()));
                if (line == LINES / 2) {
                    producer.flush();
                    comes(() -> first.state() == KafkaStreams.State.RUNNING && second[0].state() == KafkaStreams.State.RUNNING);
                    second[0].close(Duration.ofSeconds(20));
                    second[0] = start(application, from, to, protocol, guarantee);
                }
            }
        }
        feature(name + "counts", () -> counted(to, expected, guarantee.startsWith("exactly")));
        feature(name + "topics", () -> internalTopics(application));
        if (protocol.equals("streams")) feature(name + "group", () -> group(application));
        feature(name + "group in the list", () -> admin.listGroups().all().get().stream().filter(g -> g.groupId().equals(application)).map(g -> g.type().get() + " " + g.protocol() + " " + g.groupState().get()).toList());
        first.close(Duration.ofSeconds(20));
        second[0].close(Duration.ofSeconds(20));
        feature(name + "states", () -> first.state() + " " + second[0].state());
    }

    /** Whether all words were counted; exactly once, no count is written twice. */
    static Object counted(String topic, Map<String, Long> expected, boolean isExact) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", brokers, "isolation.level", "read_committed", "auto.offset.reset", "earliest", "group.id", topic);
        Map<String, Long> found = new TreeMap<>();
        int[] backwards = {0};
        boolean isRight;
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new LongDeserializer())) {
            consumer.subscribe(List.of(topic));
            isRight = comes(() -> {
                consumer.poll(PAUSE).forEach(r -> {
                    Long before = found.put(r.key(), r.value());
                    if (before != null && r.value() <= before) backwards[0]++;
                });
                return found.equals(expected);
            });
        }
        return isRight + (isExact ? ", " + backwards[0] + " twice" : "");
    }

    static Object internalTopics(String application) throws Exception {
        List<String> found = new ArrayList<>();
        for (String topic : new TreeSet<>(admin.listTopics().names().get())) {
            if (!topic.startsWith(application)) continue;
            var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            var own = admin.describeConfigs(List.of(resource)).all().get().get(resource).entries().stream()
                .filter(e -> e.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG).map(e -> e.name() + "=" + e.value()).sorted().toList();
            found.add(topic + " " + admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size() + " " + own);
        }
        return found;
    }

    static Object group(String application) throws Exception {
        boolean isStable = comes(() -> describe(application).groupState().toString().equals("Stable"));
        var group = describe(application);
        int active = 0, standby = 0;
        for (var member : group.members()) {
            for (var tasks : member.assignment().activeTasks()) active += tasks.partitions().size();
            for (var tasks : member.assignment().standbyTasks()) standby += tasks.partitions().size();
        }
        List<String> parts = group.subtopologies().stream().map(s -> s.subtopologyId() + " " + s.sourceTopics() + " " + s.repartitionSinkTopics()
            + " " + s.repartitionSourceTopics().keySet() + " " + s.stateChangelogTopics().keySet()).sorted().toList();
        return isStable + " " + group.members().size() + " members, " + active + " active, " + standby + " standby, " + parts;
    }

    static StreamsGroupDescription describe(String application) throws Exception {
        return admin.describeStreamsGroups(List.of(application)).all().get().get(application);
    }
}
