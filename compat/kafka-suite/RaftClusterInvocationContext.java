package org.apache.kafka.common.test.junit;

import kafka.network.SocketServer;
import kafka.server.ControllerServer;
import kafka.server.KafkaApis;
import kafka.server.KafkaBroker;
import kafka.server.KafkaConfig;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.StreamsGroupMemberDescription;
import org.apache.kafka.clients.consumer.GroupProtocol;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.message.ConsumerGroupHeartbeatRequestData;
import org.apache.kafka.common.message.DescribeGroupsRequestData;
import org.apache.kafka.common.message.LeaveGroupRequestData.MemberIdentity;
import org.apache.kafka.common.message.StreamsGroupHeartbeatRequestData;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.requests.ConsumerGroupHeartbeatRequest;
import org.apache.kafka.common.requests.DescribeGroupsRequest;
import org.apache.kafka.common.requests.DescribeGroupsResponse;
import org.apache.kafka.common.requests.LeaveGroupRequest;
import org.apache.kafka.common.requests.StreamsGroupHeartbeatRequest;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.test.ClusterInstance;
import org.apache.kafka.common.test.api.ClusterConfig;
import org.apache.kafka.common.test.api.Type;
import org.apache.kafka.coordinator.group.GroupCoordinator;
import org.apache.kafka.metadata.LeaderAndIsr;
import org.apache.kafka.metadata.MetadataCache;
import org.apache.kafka.server.IntegrationTestUtils;
import org.apache.kafka.server.fault.FaultHandlerException;
import org.apache.kafka.test.TestUtils;
import org.junit.jupiter.api.extension.AfterTestExecutionCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.Extension;
import org.junit.jupiter.api.extension.TestTemplateInvocationContext;
import org.mockito.Mockito;
import org.opentest4j.TestAbortedException;

import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;

/**
 * Stands in the place of the class of this name in Apache Kafka's tests, which starts a cluster for each test: here it is the one broker at
 * the address that the property "broker" says, from which all topics and groups are taken before. Of the broker's inside, which
 * the tests look at while they wait, there is what they ask for mostly, by the administration's requests.
 */
public class RaftClusterInvocationContext implements TestTemplateInvocationContext {
    private final String name;
    private final ClusterConfig config;
    private final boolean isCombined;

    public RaftClusterInvocationContext(String baseDisplayName, ClusterConfig clusterConfig, boolean isCombined) {
        this.name = baseDisplayName;
        this.config = clusterConfig;
        this.isCombined = isCombined;
    }

    @Override
    public String getDisplayName(int index) {
        return name + " [" + index + "]";
    }

    @Override
    public List<Extension> getAdditionalExtensions() {
        Running running = new Running(config);
        return List.of(
            (BeforeEachCallback) context -> {
                boolean isSecure = config.brokerSecurityProtocol() != SecurityProtocol.PLAINTEXT;
                if (isCombined || isSecure || config.serverProperties().containsKey("authorizer.class.name")) {
                    throw new TestAbortedException("it wants another broker");
                }
                running.start();
            },
            (AfterTestExecutionCallback) context -> running.stop(),
            new ClusterInstanceParameterResolver(running));
    }

    private static class Running implements ClusterInstance {
        private static final String ADDRESS = System.getProperty("broker");
        private static final int PORT = Integer.parseInt(ADDRESS.substring(ADDRESS.indexOf(':') + 1));
        private static final int NODE = 1;
        private static final long WAIT_MS = 60_000;
        private final ClusterConfig config;
        private boolean isStarted;
        private boolean isStopped;

        Running(ClusterConfig config) {
            this.config = config;
        }

        @Override
        public void start() {
            try (Admin admin = admin()) {
                for (GroupListing group : admin.listGroups().all().get()) {
                    dismissMembers(admin, group);
                    admin.deleteConsumerGroups(List.of(group.groupId())).all().get();
                }
                Set<String> topics = new HashSet<>(admin.listTopics().names().get());
                topics.removeIf(topic -> topic.startsWith("__"));
                admin.deleteTopics(topics).all().get();
                TestUtils.waitForCondition(() -> topics.stream().noneMatch(admin.listTopics().names().get()::contains), WAIT_MS, "topics stay");
            } catch (Exception error) {
                throw new RuntimeException(error);
            }
            isStarted = true;
        }

        /** Has the members leave that a test has left in a group. */
        private static void dismissMembers(Admin admin, GroupListing group) throws Exception {
            String id = group.groupId();
            switch (group.type().orElse(GroupType.UNKNOWN)) {
                case CONSUMER -> {
                    for (MemberDescription member : admin.describeConsumerGroups(List.of(id)).all().get().get(id).members()) {
                        var leave = new ConsumerGroupHeartbeatRequestData().setGroupId(id).setMemberId(member.consumerId()).setMemberEpoch(-1);
                        IntegrationTestUtils.connectAndReceive(new ConsumerGroupHeartbeatRequest.Builder(leave).build(), PORT);
                    }
                }
                case STREAMS -> {
                    for (StreamsGroupMemberDescription member : admin.describeStreamsGroups(List.of(id)).all().get().get(id).members()) {
                        var leave = new StreamsGroupHeartbeatRequestData().setGroupId(id).setMemberId(member.memberId()).setMemberEpoch(-1);
                        IntegrationTestUtils.connectAndReceive(new StreamsGroupHeartbeatRequest.Builder(leave).build(), PORT);
                    }
                }
                default -> {
                    var describe = new DescribeGroupsRequest.Builder(new DescribeGroupsRequestData().setGroups(List.of(id))).build();
                    DescribeGroupsResponse described = IntegrationTestUtils.connectAndReceive(describe, PORT);
                    var members = described.data().groups().get(0).members().stream();
                    var leaving = members.map(member -> new MemberIdentity().setMemberId(member.memberId())).toList();
                    if (!leaving.isEmpty()) {
                        IntegrationTestUtils.connectAndReceive(new LeaveGroupRequest.Builder(id, leaving).build(), PORT);
                    }
                }
            }
        }

        @Override
        public void createTopic(String topic, int partitions, short replicas, Map<String, String> settings) throws InterruptedException {
            try (Admin admin = admin()) {
                admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(settings)));
                waitTopicCreation(topic, partitions);
            }
        }

        @Override
        public void createTopicWithAssignment(String topic, Map<Integer, List<Integer>> assignment) throws InterruptedException {
            createTopic(topic, assignment.size(), (short) 1, Map.of());
        }

        private Optional<Integer> partitionsOf(String topic) {
            try (Admin admin = admin()) {
                return Optional.of(admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
            } catch (Exception error) {
                return Optional.empty();
            }
        }

        @Override
        public void waitTopicCreation(String topic, int partitions) throws InterruptedException {
            TestUtils.waitForCondition(() -> partitionsOf(topic).equals(Optional.of(partitions)), WAIT_MS, topic + " is not there");
        }

        @Override
        public void waitTopicDeletion(String topic) throws InterruptedException {
            TestUtils.waitForCondition(() -> partitionsOf(topic).isEmpty(), WAIT_MS, topic + " is still there");
        }

        @Override
        public Map<Integer, KafkaBroker> brokers() {
            Map<String, Object> settings = new HashMap<>(config.serverProperties());
            settings.put("process.roles", "broker");
            settings.put("node.id", Integer.toString(NODE));
            settings.put("offsets.topic.replication.factor", "1");
            settings.put("transaction.state.log.replication.factor", "1");
            settings.put("controller.quorum.bootstrap.servers", "localhost:9");
            settings.put("controller.listener.names", "CONTROLLER");
            settings.put("listener.security.protocol.map", "EXTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT");
            // They may be there already, of another size than the test's settings say.
            Map<String, String> sizes = Map.of(
                "offsets.topic.num.partitions", "__consumer_offsets",
                "transaction.state.log.num.partitions", "__transaction_state");
            sizes.forEach((setting, topic) -> partitionsOf(topic).ifPresent(count -> settings.put(setting, Integer.toString(count))));
            KafkaConfig known = new KafkaConfig(settings, false);
            SocketServer sockets = Mockito.mock(SocketServer.class);
            Mockito.when(sockets.boundPort(Mockito.any())).thenReturn(PORT);
            KafkaApis apis = Mockito.mock(KafkaApis.class);
            Mockito.when(apis.isConsumerGroupProtocolEnabled()).thenReturn(true);
            MetadataCache topics = Mockito.mock(MetadataCache.class);
            Mockito.when(topics.numPartitions(Mockito.anyString())).thenAnswer(asked -> partitionsOf(asked.getArgument(0)));
            Mockito.when(topics.contains(Mockito.anyString())).thenAnswer(asked -> partitionsOf(asked.getArgument(0)).isPresent());
            Mockito.when(topics.getLeaderAndIsr(Mockito.anyString(), Mockito.anyInt()))
                .thenReturn(Optional.of(new LeaderAndIsr(NODE, List.of(NODE))));
            GroupCoordinator groups = Mockito.mock(GroupCoordinator.class);
            Mockito.when(groups.groupMetadataTopicConfigs()).thenReturn(new Properties());
            KafkaBroker broker = Mockito.mock(KafkaBroker.class, Mockito.RETURNS_DEEP_STUBS);
            Mockito.when(broker.config()).thenReturn(known);
            Mockito.when(broker.socketServer()).thenReturn(sockets);
            Mockito.when(broker.boundPort(Mockito.any())).thenReturn(PORT);
            Mockito.when(broker.isShutdown()).thenReturn(false);
            Mockito.when(broker.dataPlaneRequestProcessor()).thenReturn(apis);
            Mockito.when(broker.metadataCache()).thenReturn(topics);
            Mockito.when(broker.groupCoordinator()).thenReturn(groups);
            return Map.of(NODE, broker);
        }

        @Override
        public String clusterId() {
            try (Admin admin = admin()) {
                return admin.describeCluster().clusterId().get();
            } catch (Exception error) {
                throw new RuntimeException(error);
            }
        }

        @Override
        public void shutdownBroker(int id) {
            throw new TestAbortedException("the broker is not the test's");
        }

        @Override
        public void startBroker(int id) {
            throw new TestAbortedException("the broker is not the test's");
        }

        @Override
        public void stop() {
            isStopped = true;
        }

        @Override
        public boolean started() {
            return isStarted;
        }

        @Override
        public boolean stopped() {
            return isStopped;
        }

        @Override
        public Type type() {
            return Type.KRAFT;
        }

        @Override
        public ClusterConfig config() {
            return config;
        }

        @Override
        public Set<Integer> controllerIds() {
            return Set.of(NODE);
        }

        @Override
        public Set<Integer> brokerIds() {
            return Set.of(NODE);
        }

        @Override
        public List<Integer> brokerBoundPorts() {
            return List.of(PORT);
        }

        @Override
        public List<Integer> controllerBoundPorts() {
            return List.of(PORT);
        }

        @Override
        public ListenerName clientListener() {
            return config.brokerListenerName();
        }

        @Override
        public ListenerName controllerListenerName() {
            return config.controllerListenerName();
        }

        @Override
        public String bootstrapServers() {
            return ADDRESS;
        }

        @Override
        public String bootstrapControllers() {
            return ADDRESS;
        }

        @Override
        public Map<Integer, KafkaBroker> aliveBrokers() {
            return brokers();
        }

        @Override
        public Map<Integer, ControllerServer> controllers() {
            return Map.of();
        }

        @Override
        public Set<GroupProtocol> supportedGroupProtocols() {
            return Set.of(GroupProtocol.CLASSIC, GroupProtocol.CONSUMER);
        }

        @Override
        public Optional<FaultHandlerException> firstFatalException() {
            return Optional.empty();
        }

        @Override
        public Optional<FaultHandlerException> firstNonFatalException() {
            return Optional.empty();
        }

        @Override
        public void waitForReadyBrokers() {
        }

        @Override
        public void ensureConsistentMetadata() {
        }

        @Override
        public void ensureConsistentMetadata(Collection<KafkaBroker> brokers, Collection<ControllerServer> controllers) {
        }
    }
}
