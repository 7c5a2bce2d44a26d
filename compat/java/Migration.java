import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;

/** Groups of each protocol with rebalances, and groups that change their protocol member by member. */
public class Migration extends Common {
    /** A consumer in its own thread. */
    static class Member extends Thread {
        final KafkaConsumer<String, String> consumer;
        volatile boolean isOver;
        volatile Set<TopicPartition> has = Set.of();
        volatile Throwable error;

        Member(String group, String topic, String protocol, String assignor, String instance) {
            Map<String, Object> config = new HashMap<>(Map.of("group.id", group, "group.protocol", protocol));
            if (protocol.equals("classic"))
                config.putAll(Map.of("partition.assignment.strategy", assignor, "session.timeout.ms", 6000, "heartbeat.interval.ms", 300));
            if (instance != null) config.put("group.instance.id", instance);
            consumer = consumer(config);
            consumer.subscribe(List.of(topic));
            start();
        }

        @Override
        public void run() {
            try {
                while (!isOver) {
                    consumer.poll(PAUSE);
                    has = consumer.assignment();
                }
                consumer.close();
            } catch (Throwable thrown) {
                error = thrown;
            }
        }

        void end() throws Exception {
            isOver = true;
            join();
        }
    }

    static final int PARTITIONS = 6;

    /** Whether the members share all partitions evenly; and what administrators see of the group. */
    static String settled(String group, Member... members) throws Exception {
        boolean isSettled = comes(() -> {
            Set<TopicPartition> all = new HashSet<>();
            int count = 0;
            for (Member member : members) {
                if (member.has.size() != PARTITIONS / members.length) return false;
                all.addAll(member.has);
                count += member.has.size();
            }
            return all.size() == PARTITIONS && count == PARTITIONS && listed(group).endsWith("Stable");
        });
        var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        List<String> kinds = described.members().stream().map(m -> m.upgraded().map(u -> u ? "consumer" : "classic").orElse("-") + m.assignment().topicPartitions().size()).sorted().toList();
        StringBuilder errors = new StringBuilder();
        for (Member member : members) if (member.error != null) errors.append(" ").append(member.error);
        return isSettled + " " + listed(group) + " " + kinds + errors;
    }

    static String listed(String group) throws Exception {
        return admin.listGroups().all().get().stream().filter(g -> g.groupId().equals(group)).map(g -> g.type().get() + " " + g.groupState().get()).findFirst().orElse("none");
    }

    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        for (String assignor : List.of("RangeAssignor", "CooperativeStickyAssignor"))
            for (boolean isStatic : new boolean[] {false, true}) change(assignor, isStatic);
        System.exit(0);
    }

    static void change(String assignor, boolean isStatic) throws Exception {
        String name = assignor + (isStatic ? " static" : ""), group = RUN + assignor + isStatic;
        String strategy = "org.apache.kafka.clients.consumer." + assignor;
        String topic = topic("of-" + group, PARTITIONS, Map.of());
        String one = isStatic ? "one" : null, two = isStatic ? "two" : null, three = isStatic ? "three" : null;
        Member[] members = {new Member(group, topic, "classic", strategy, one), new Member(group, topic, "classic", strategy, two)};
        feature(name + ", two classic", () -> settled(group, members));
        members[0].end();
        members[0] = new Member(group, topic, "consumer", strategy, one);
        feature(name + ", one of each", () -> settled(group, members));
        Member third = new Member(group, topic, "classic", strategy, three);
        feature(name + ", a third one, classic", () -> settled(group, members[0], members[1], third));
        third.end();
        if (isStatic) admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove(three)))).all().get();
        feature(name + ", and it leaves", () -> settled(group, members));
        members[1].end();
        members[1] = new Member(group, topic, "consumer", strategy, two);
        feature(name + ", two of consumer", () -> settled(group, members));
        members[0].end();
        members[0] = new Member(group, topic, "classic", strategy, one);
        feature(name + ", one back", () -> settled(group, members));
        members[1].end();
        members[1] = new Member(group, topic, "classic", strategy, two);
        feature(name + ", both back", () -> settled(group, members));
        for (Member member : members) member.end();
    }
}
